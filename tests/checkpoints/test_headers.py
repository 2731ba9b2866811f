"""Headers of safetensors files: what safetensors refuses is refused; tensors begin anywhere."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

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
REFUSED = (
    r"model\.safetensors' must be a whole safetensors file, got .* damaged: .*\. Copy it again"
)


Change: TypeAlias = Callable[[bytes, bytes], tuple[bytes, bytes]]
"""A change of the header and the tensors of a file."""


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
    with pytest.raises(ValueError, match=REFUSED):
        phew.prune_checkpoint(network(), file, IMAGE, density=0.5, out=tmp_path / "out")


@pytest.mark.parametrize("entry", [None, 3, "F32", [], {}], ids=str)
def test_an_entry_must_be_an_object(entry: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write(file, json.dumps({"0.weight": entry}).encode(), b"")
    with pytest.raises(ValueError, match=REFUSED):
        Checkpoint(file)


def test_an_offset_beyond_any_number_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    header, tensors = save(file, network())
    write(file, header.replace(b'"data_offsets":[0,', b'"data_offsets":[1e400,'), tensors)
    with pytest.raises(ValueError, match=REFUSED):
        Checkpoint(file)


def test_a_header_nested_too_deep_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write(file, NESTED, b"")
    with pytest.raises(ValueError, match=REFUSED):
        Checkpoint(file)


def overlap(header: bytes, tensors: bytes) -> tuple[bytes, bytes]:
    entries = json.loads(header)
    first, _ = entries["0.weight"]["data_offsets"]
    entries["0.bias"]["data_offsets"] = [first, first + 20]
    return json.dumps(entries).encode(), tensors


def leave_a_hole(header: bytes, tensors: bytes) -> tuple[bytes, bytes]:
    entries = json.loads(header)
    for fields in entries.values():
        fields["data_offsets"] = [16 + offset for offset in fields["data_offsets"]]
    return json.dumps(entries).encode(), bytes(16) + tensors


def of_unknown_type(header: bytes, tensors: bytes) -> tuple[bytes, bytes]:
    entries = json.loads(header)
    entries["0.bias"]["dtype"] = "Q7"
    return json.dumps(entries).encode(), tensors


def with_metadata(metadata: Any) -> Change:
    return lambda header, tensors: (
        json.dumps(json.loads(header) | {"__metadata__": metadata}).encode(),
        tensors,
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(overlap, id="tensors that overlap"),
        pytest.param(leave_a_hole, id="a hole before the tensors"),
        pytest.param(lambda header, tensors: (header, tensors + b"more"), id="bytes at the end"),
        pytest.param(lambda header, tensors: (header, tensors[:-1]), id="cut off"),
        pytest.param(of_unknown_type, id="unknown type of a bias"),
        pytest.param(with_metadata(["pt"]), id="metadata are a list"),
        pytest.param(with_metadata({"epoch": 3}), id="metadata hold a number"),
        pytest.param(
            lambda header, tensors: (header.decode().encode("utf-16"), tensors), id="UTF-16"
        ),
        pytest.param(lambda header, tensors: (b"\xef\xbb\xbf" + header, tensors), id="BOM"),
        pytest.param(lambda header, tensors: (header.rstrip() + b"{}", tensors), id="two objects"),
    ],
)
def test_nothing_that_safetensors_refuses_is_taken(change: Change, tmp_path: Path) -> None:
    file, out = tmp_path / "model.safetensors", tmp_path / "out"
    write(file, *change(*save(file, network())))
    with pytest.raises(safetensors.SafetensorError):
        safetensors.torch.load_file(file)
    with pytest.raises(ValueError, match=REFUSED):
        phew.prune_checkpoint(network(), file, IMAGE, density=0.5, out=out, write_weights=True)
    assert not out.exists()


def test_fields_that_safetensors_ignores_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    header, tensors = save(file, network())
    entries = json.loads(header)
    entries["0.weight"]["note"] = {"nested": [[1.5, None]]}
    write(file, json.dumps(entries | {"__metadata__": None}).encode(), tensors)
    masks = phew.prune_checkpoint(network(), file, IMAGE, density=0.5, out=tmp_path / "out")
    assert masks == phew.sample_masks(network(), IMAGE, density=0.5)


@pytest.mark.parametrize(
    "name",
    ["a\0b", "\ud800", "", "..", "../model.safetensors", "/etc/passwd", 5, None, ["a"]],
    ids=repr,
)
def test_an_index_names_files_of_its_folder(name: Any, tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"0.weight": name}}))
    with pytest.raises(ValueError, match=r"index\.json' must (name files of its own folder|have)"):
        Checkpoint(tmp_path)


def test_an_index_in_another_encoding_is_named(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_bytes(json.dumps({"weight_map": {}}).encode("utf-16"))
    with pytest.raises(
        ValueError, match=r"index\.json' must have a weight_map .* UnicodeDecodeErr"
    ):
        Checkpoint(tmp_path)


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


@pytest.mark.parametrize("padding", range(8))
def test_buffers_are_aligned_copies(padding: int, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    tensors = {"scale": torch.tensor(2.5), "order": torch.arange(6), "half": torch.ones(3).half()}
    safetensors.torch.save_file(tensors, file)
    content = file.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    write(file, content[8:end] + b" " * padding, content[end:])
    checkpoint = Checkpoint(file)
    for name, tensor in tensors.items():
        copy = checkpoint.copy_of(name)
        assert copy.data_ptr() % tensor.itemsize == 0
        assert copy.equal(tensor)
        copy.zero_()
    assert safetensors.torch.load_file(file)["order"].equal(tensors["order"])
