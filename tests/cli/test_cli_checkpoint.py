"""`phew prune --checkpoint` prunes a checkpoint where it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from command_line import run
from saved_networks import SHARDS, save
from small_networks import Permuted
from torch import nn

import phew
from phew import Masks
from phew.checkpoints.run import MASKS

PRUNE = ("prune", "small_networks:Permuted", "--input-shape", "8", "--density", "0.3")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A model whose buffer says which units are joined, and its checkpoint in `model`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    torch.manual_seed(3)
    model = Permuted()
    save(model, tmp_path / "model", num_shards=SHARDS)
    return model


def test_a_checkpoint_is_pruned_where_it_is(model: nn.Module) -> None:
    result = run(*PRUNE, "--checkpoint", "model", "--out", "pruned", "--write-weights", "--json")
    assert result.exit_code == 0, result.output
    expected = phew.sample_masks(model, torch.zeros(1, 8), density=0.3)
    assert Masks.load(f"pruned/{MASKS}") == expected
    assert json.loads(result.stdout)["info"]["num_passes"] == 6
    stored = {
        name: tensor
        for file in Path("pruned").glob("model-*.safetensors")
        for name, tensor in safetensors.torch.load_file(file).items()
    }
    expected.apply(model)
    for name, tensor in model.state_dict().items():
        assert stored[name].equal(tensor)


def test_a_folder_of_transformers_is_a_model_and_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zoo as zoo  # mends torchvision's operators
    from transformers import LlamaConfig, LlamaForCausalLM

    monkeypatch.chdir(tmp_path)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    config = LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, vocab_size=50)
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.save_pretrained("llama")
    command = ("prune", "transformers:llama", "--density", "0.3", "--json")
    result = run(*command, "--checkpoint", "llama", "--out", "pruned")
    assert result.exit_code == 0, result.stderr
    expected = phew.sample_masks(model, density=0.3)
    assert "lm_head.weight" in expected
    assert Masks.load(f"pruned/{MASKS}") == expected
    in_memory = run(*command, "--weights", "llama", "--out", "masks.safetensors")
    assert in_memory.exit_code == 0, in_memory.stderr
    assert Masks.load("masks.safetensors") == expected


def test_a_run_is_gone_on_with_where_that_is_asked_for(model: nn.Module) -> None:
    arguments = (*PRUNE, "--checkpoint", "model", "--out", "pruned")
    assert run(*arguments).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 2
    assert "out must be an empty folder, got 'pruned'." in result.stderr
    assert run(*arguments, "--resume", "--write-weights").exit_code == 0
    assert len(list(Path("pruned").glob("model-*.safetensors"))) == SHARDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--checkpoint", "model"), "--out must be given with --checkpoint"),
        (("--write-weights",), "--write-weights must be given with --checkpoint DIR."),
        (("--resume",), "--resume must be given with --checkpoint DIR."),
        (("--checkpoint", "model", "--out", "pruned", "--device", "cuda"), "--device must be cpu"),
        (("--checkpoint", "nothing", "--out", "pruned"), "nothing"),
    ],
)
def test_errors_name_the_option(model: nn.Module, arguments: tuple[str, ...], message: str) -> None:
    result = run(*PRUNE, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("pruned").exists()
