from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from command_line import plain, run
from masked_networks import signal_network

import phew
from phew import analysis, baselines

MODEL = ("masked_networks:signal_network", "--input-shape", "2,8")

METHODS: dict[str, tuple[str, Callable[..., phew.Masks], dict[str, Any]]] = {
    "phew": ("PHEW", phew.sample_masks, {"seed": 5}),
    "synflow": ("SynFlow", baselines.synflow, {}),
    "synflow-l2": ("SynFlow-L2", baselines.synflow_l2, {}),
    "magnitude": ("magnitude", baselines.magnitude, {}),
    "random": ("random", baselines.random, {"seed": 5}),
    "random-layer": ("random by layer", baselines.random, {"seed": 5, "scope": "layer"}),
    "erk": ("ERK", baselines.erk, {"seed": 5}),
    "uniform-walks": ("uniform walks", phew.sample_masks, {"seed": 5, "power": 0}),
    "inverse-walks": ("inverse walks", phew.sample_masks, {"seed": 5, "power": -1}),
    "squared-walks": ("PHEW2", phew.sample_masks, {"seed": 5, "power": 2}),
    "kernel-walks": ("kernel PHEW", phew.sample_masks, {"seed": 5, "granularity": "kernel"}),
}


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo that the command line puts the current directory first."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def analysis_of(name: str, density: float, *, init_seed: int = 0, **selection: Any) -> Any:
    """Analyse what a method leaves of the network, as JSON has it."""
    torch.manual_seed(init_seed)
    model, example = signal_network(), torch.zeros(1, 2, 8)
    _, function, options = METHODS[name]
    masks = function(model, example, density=density, **options, **selection)
    graph = phew.capture(model, example, **selection)
    return json.loads(json.dumps(analysis.analyze(graph, masks=masks).as_dict()))


def test_help_names_every_option_and_method() -> None:
    result = run("compare", "--help")
    assert result.exit_code == 0
    options = [
        *("densities", "methods", "seed", "init-seed", "input-shape", "include", "exclude"),
        *("out", "json"),
    ]
    text = plain(result.stdout)
    assert [option for option in options if f"--{option} " not in text] == []
    assert [name for name in METHODS if name not in text] == []


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_the_librarys_with_the_seed(name: str) -> None:
    result = run(
        *("compare", *MODEL, "--densities", "0.4", "--methods", name),
        *("--seed", "5", "--init-seed", "4", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    printed = json.loads(result.stdout)
    (row,) = printed.pop("rows")
    assert printed == {
        "model": MODEL[0],
        "input_shape": [2, 8],
        "init_seed": 4,
        "weights": None,
        "seed": 5,
        "out": None,
    }
    assert row.pop("seconds") > 0
    label, _, _ = METHODS[name]
    expected = analysis_of(name, 0.4, init_seed=4)
    assert row == {"method": label, "density": 0.4, "analysis": expected}


def test_the_table_compares_the_default_methods_and_densities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for slow in ("synflow", "synflow_l2"):
        monkeypatch.setattr(baselines, slow, baselines.magnitude)
    result = run("compare", *MODEL)
    assert result.exit_code == 0, result.stderr
    header, _, *lines, last = result.stdout.splitlines()
    assert header.startswith("method      density  effective  hidden width")
    methods = ["PHEW", "SynFlow", "SynFlow-L2", "magnitude", "random", "ERK"]
    assert [line.split()[:2] for line in lines] == [
        [method, density]
        for density in ("50%", "20%", "10%", "5%", "2%", "1%")
        for method in methods
    ]
    assert last == "not saved (--out DIR saves figures and numbers)"


def test_weights_that_are_left_out_are_not_compared() -> None:
    result = run(
        *("compare", *MODEL, "--densities", "0.4", "--methods", "magnitude", "--json"),
        *("--include", "*.weight", "--exclude", "4.*"),
    )
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert row["analysis"] == analysis_of("magnitude", 0.4, include=["*.weight"], exclude=["4.*"])
    assert [layer["parameter"] for layer in row["analysis"]["layers"]] == ["0.weight"]


@pytest.mark.parametrize("exists", [True, False])
def test_figures_and_numbers_are_saved(tmp_path: Path, exists: bool) -> None:
    out = tmp_path / "figures"
    if exists:
        out.mkdir()
        (out / "layers.svg").write_text("earlier")
    arguments = ("compare", *MODEL, "--densities", "0.5,0.2", "--methods", "phew, random")
    result = run(*arguments, "--out", str(out), "--json")
    assert result.exit_code == 0, result.stderr
    files = ["against_density.svg", "comparison.json", "layers.svg"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert (out / "comparison.json").read_text() == result.stdout.strip()
    assert json.loads(result.stdout)["out"] == str(out)
    for name, word in (("layers.svg", "density 20%"), ("against_density.svg", "20%")):
        tree = ElementTree.fromstring((out / name).read_bytes())
        texts = {element.text for element in tree.iter() if element.text}
        assert {"PHEW", "random", word} <= texts
    assert run(*arguments, "--out", str(out)).stdout.endswith(f"saved to {out}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--methods", "phew,snip"],
            "--methods must be of those that need no data, got 'snip'. "
            "In Python, phew.baselines.snip takes a loss on data.",
        ),
        (
            ["--methods", "grasp"],
            "--methods must be of those that need no data, got 'grasp'. "
            "In Python, phew.baselines.grasp takes a loss on data.",
        ),
        (
            ["--methods", "phew,magnitud"],
            f"--methods must be names with commas, of {', '.join(METHODS)}, got 'magnitud'.",
        ),
        (["--methods", ""], "--methods must be names with commas, of phew, "),
        (
            ["--densities", "0.1;0.2"],
            "--densities must be numbers with commas such as 0.1,0.01, got '0.1;0.2'.",
        ),
        (["--densities", "0.1,2"], "density must be in (0, 1], got 2.0."),
        (["--densities", "nan"], "density must be in (0, 1], got nan."),
        (["--exclude", "head.*"], "exclude must match parameters, got 'head.*', "),
        (
            ["--out", "missing/figures"],
            "--out must be a folder or a new one in a folder that exists, got 'missing/figures'.",
        ),
        (
            ["--out", "a_file"],
            "--out must be a folder or a new one in a folder that exists, got 'a_file'.",
        ),
        (["--out", "m" * 256], f"[Errno {errno.ENAMETOOLONG}] File name too long: 'mmm"),
        (
            ["--methods", "magnitude", "--densities", "0.0001"],
            "methods['magnitude']: density must keep at least one of 228 weights, got 0.0001.",
        ),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    out = [] if "--out" in arguments else ["--out", "figures"]
    result = run("compare", *MODEL, "--json", *arguments, *out)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"phew: {message}")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


def test_without_matplotlib_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "phew.plot", raising=False)
    out = tmp_path / "figures"
    # matplotlib is missed before the network is looked for.
    result = run("compare", "no_such_network", "--out", str(out))
    assert result.exit_code == 2
    assert result.stderr == ("phew: phew.plot needs matplotlib: pip install 'torch-phew[plot]'.\n")
    assert not out.exists()
    assert run("compare", *MODEL, "--methods", "phew").exit_code == 0


def test_approximations_are_told_once() -> None:
    options = ("--input-shape", "8", "--methods", "phew,magnitude", "--densities", "0.5")
    result = run("compare", "small_networks:Orthogonal", *options)
    assert result.exit_code == 0, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("phew: phew does not know the exact wiring of linalg_qr")
