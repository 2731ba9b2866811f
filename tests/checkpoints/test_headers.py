"""Headers of safetensors files: what is wrong in them is named, and tensors may begin anywhere."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import phew
from phew.checkpoints.header import read_entries
from phew.checkpoints.stored_tensors import Checkpoint
from phew.graph.weights import data_of

IMAGE = torch.zeros(1, 6)
NESTED = b"[" * 100_000


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def save(file: Path, model: nn.Module) -> tuple[bytes, bytes]:
    """Write a checkpoint; return its header and its tensors."""
    safetensors.torch.save_file(model.state_dict(), file)
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end], content[end:]


def write(file: Path, header: bytes, tensors: bytes) -> None:
    file.write_bytes(struct.pack("<Q", len(header)) + header + tensors)


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": ["a", "b"]},
        {"shape": [None, 6]},
        {"shape": [5.0, 6.0]},
        {"shape": [True, 30]},
        {"shape": ["x", 2**40]},
        {"shape": [-5, -6]},
        {"shape": "56"},
        {"shape": None},
        {"shape": [2**63, 1]},
        {"data_offsets": ["0", "120"]},
        {"data_offsets": [0.0, 120.0]},
        {"data_offsets": [False, 120]},
        {"data_offsets": [float("inf"), 120]},
        {"data_offsets": [float("nan"), 120]},
        {"data_offsets": [0]},
        {"data_offsets": [-8, 112]},
        {"data_offsets": {"0": 0, "120": 120}},
        {"dtype": ["F32"]},
        {"dtype": 32},
    ],
    ids=str,
)
def test_fields_of_other_types_are_damage(fields: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    header, tensors = save(file, network())
    entries = json.loads(header)
    entries["0.weight"] |= fields
    write(file, json.dumps(entries).encode(), tensors)
    with pytest.raises(ValueError, match=r"model\.safetensors.*damaged: no valid entry for '0.wei"):
        phew.prune_checkpoint(network(), file, IMAGE, density=0.5, out=tmp_path / "out")


@pytest.mark.parametrize("entry", [None, 3, "F32", [], {}], ids=str)
def test_an_entry_must_be_an_object(entry: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write(file, json.dumps({"0.weight": entry}).encode(), b"")
    with pytest.raises(ValueError, match=r"no valid entry for '0\.weight'"):
        Checkpoint(file)


def test_an_offset_beyond_any_number_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    header, tensors = save(file, network())
    write(file, header.replace(b'"data_offsets":[0,', b'"data_offsets":[1e400,'), tensors)
    with pytest.raises(ValueError, match="damaged: no valid entry"):
        Checkpoint(file)


def test_a_header_nested_too_deep_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write(file, NESTED, b"")
    with pytest.raises(ValueError, match="damaged: its header is not JSON, or nested too deep"):
        Checkpoint(file)


def test_an_index_nested_too_deep_is_named(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(b'{"weight_map":' + NESTED)
    with pytest.raises(ValueError, match=r"index\.json.*must have a weight_map"):
        Checkpoint(tmp_path)


def test_entries_are_those_of_the_format(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    model = network()
    _, tensors = save(file, model)
    entries = dict(read_entries(file))
    start = file.stat().st_size - len(tensors)
    for name, tensor in model.state_dict().items():
        entry = entries[name]
        first = entry.offset - start
        assert (entry.dtype, entry.shape) == ("F32", tuple(tensor.shape))
        assert tensors[first : first + entry.num_bytes] == tensor.numpy().tobytes()


@pytest.mark.parametrize("padding", range(8))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_engine_gets_aligned_weights(dtype: torch.dtype, padding: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    model = network().to(dtype)
    header, tensors = save(file, model)
    write(file, header + b" " * padding, tensors)
    graph = phew.capture(network(), IMAGE)
    checkpoint = Checkpoint(file)
    stored = {
        name: checkpoint.tensor(name, graph.parameters[name].shape) for name in graph.prunable
    }
    mapped = dataclasses.replace(graph, parameters=stored)
    for name, tensor in stored.items():
        data = data_of(mapped, name)
        assert data.data_ptr() % dtype.itemsize == 0
        assert data.equal(model.get_parameter(name))
        # Weights that are aligned where they are need no copy.
        assert (data.data_ptr() == tensor.data_ptr()) == (tensor.data_ptr() % dtype.itemsize == 0)
    masks = phew.prune_checkpoint(
        graph, file, density=0.5, out=tmp_path / "out", write_weights=True
    )
    weights = {name: model.get_parameter(name).detach() for name in graph.prunable}
    in_memory = dataclasses.replace(graph, parameters=weights)
    assert masks == phew.sample_masks(in_memory, density=0.5)
    pruned = safetensors.torch.load_file(tmp_path / "out" / file.name)
    for name, mask in masks.items():
        np.testing.assert_array_equal(pruned[name].float(), (weights[name] * mask).float())
