"""phew prune --sparse prints what a sparse network costs, and saves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_line import run
from small_networks import IMAGE, lenet5

import phew
from phew import models


def test_prune_prints_what_the_sparse_network_costs() -> None:
    result = run("prune", "lenet5", "--density", "0.1", "--sparse")
    assert result.exit_code == 0, result.stderr
    *report, facts = result.stdout.splitlines()
    network = lenet5()
    masks = phew.sample_masks(network, IMAGE, density=0.1)
    expected = phew.to_sparse(network, masks, example_inputs=IMAGE, rescale="auto")
    assert report == str(expected).splitlines()
    assert "operations" in report[0]
    assert facts.startswith(f"density {masks.density:.6g}: kept {masks.num_kept:,} of 61,470 ")
    assert facts.endswith(
        " s; not saved (--out FILE saves the network); kept weights are rescaled: auto"
    )


def test_prune_saves_the_sparse_network(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    result = run("prune", "lenet5", "--density", "0.1", "--sparse", "--json", "--out", str(path))
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    network, loaded = lenet5(), models.lenet5()
    masks = phew.sample_masks(network, IMAGE, density=0.1)
    report = phew.to_sparse(network, masks, example_inputs=IMAGE, rescale="auto")
    phew.load_sparse(loaded, path)
    torch.testing.assert_close(loaded.state_dict(), network.state_dict(), rtol=0, atol=0)
    assert printed["sparse"] == report.as_dict()
    assert printed["rescale"] == "auto"
    assert printed["out"] == str(path)
    assert printed["num_kept"] == masks.num_kept


def test_prune_of_a_checkpoint_makes_no_sparse_network(tmp_path: Path) -> None:
    result = run(
        *("prune", "lenet5", "--density", "0.1", "--sparse"),
        *("--checkpoint", str(tmp_path), "--out", str(tmp_path / "pruned")),
    )
    assert result.exit_code == 2
    assert result.stderr == (
        "phew: --sparse must be given without --checkpoint: the network is made sparse in memory.\n"
    )


@pytest.mark.parametrize("out", ["missing/net.safetensors", "."])
def test_sparse_networks_are_saved_to_files_in_folders_that_exist(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("prune", "lenet5", "--density", "0.1", "--sparse", "--out", out)
    assert result.exit_code == 2
    assert result.stderr == f"phew: --out must be a file in a folder that exists, got {out!r}.\n"
    assert not list(tmp_path.iterdir())
