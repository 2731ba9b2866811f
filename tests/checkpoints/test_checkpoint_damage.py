"""Checkpoints that are damaged or of another model: errors that name file and tensor."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from saved_networks import SHARDS, save
from small_networks import IMAGE, lenet5

import phew
from phew.checkpoints.run import MASKS

FILE = "model-00002-of-00003.safetensors"


def cut_off(folder: Path) -> None:
    with (folder / FILE).open("r+b") as file:
        file.truncate((folder / FILE).stat().st_size - 100)


def remove(folder: Path) -> None:
    (folder / FILE).unlink()


def cut_header_off(folder: Path) -> None:
    with (folder / FILE).open("r+b") as file:
        file.truncate(50)


def spoil_header(folder: Path) -> None:
    (folder / FILE).write_bytes(struct.pack("<Q", 2) + b"[]")


def rewrite(folder: Path, name: str, change: Any) -> None:
    (file,) = [
        file for file in folder.glob("*.safetensors") if name in safetensors.torch.load_file(file)
    ]
    tensors = safetensors.torch.load_file(file)
    safetensors.torch.save_file(change(tensors, name), file)


def shorten_tensor(folder: Path) -> None:
    content = (folder / FILE).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["fc1.weight"]["shape"] = [120, 401]
    changed = json.dumps(header).encode()
    (folder / FILE).write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])


def with_nan(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
        tensors[name][3, 4] = float("nan")
        return tensors

    rewrite(folder, "fc2.weight", change)


def with_other_shape(folder: Path) -> None:
    rewrite(folder, "fc2.weight", lambda tensors, name: {**tensors, name: torch.zeros(84, 3)})


def with_other_dtype(folder: Path) -> None:
    rewrite(
        folder, "fc2.weight", lambda tensors, name: {**tensors, name: tensors[name].to(torch.int8)}
    )


def without_tensor(folder: Path) -> None:
    rewrite(
        folder,
        "fc2.weight",
        lambda tensors, name: {key: tensor for key, tensor in tensors.items() if key != name},
    )


def without_index_entry(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    del content["weight_map"]["fc2.weight"]
    index.write_text(json.dumps(content))
    without_tensor(folder)


def spoil_index(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weights": {}}')


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (remove, OSError, [FILE]),
        (cut_off, ValueError, [FILE, "is cut off", "Copy it again"]),
        (cut_header_off, ValueError, [FILE, "header"]),
        (spoil_header, ValueError, [FILE, "header", "Copy it again"]),
        (shorten_tensor, ValueError, [FILE, "is cut off or damaged"]),
        (with_nan, ValueError, ["-of-00003.safetensors", "'fc2.weight'", "NaN"]),
        (
            with_other_shape,
            ValueError,
            ["00003.safetensors", "'fc2.weight'", "(84, 120)", "(84, 3)"],
        ),
        (with_other_dtype, ValueError, ["00003.safetensors", "'fc2.weight'", "F64, F32", "I8"]),
        (without_tensor, ValueError, ["00003.safetensors", "'fc2.weight'", "index.json says"]),
        (without_index_entry, ValueError, ["model'", "'fc2.weight'"]),
        (spoil_index, ValueError, ["index.json", "weight_map"]),
    ],
)
def test_damage_is_named(
    damage: Any, error: type[Exception], words: list[str], tmp_path: Path
) -> None:
    folder = save(lenet5(), tmp_path / "model", num_shards=SHARDS)
    damage(folder)
    with pytest.raises(error) as caught:
        phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=tmp_path / "out")
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out" / MASKS).exists()


def test_other_kinds_of_files_are_named(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "model.safetensors.index.json"):
        (tmp_path / name).write_bytes(b"PK" * 100)
        with pytest.raises(ValueError, match=r"checkpoint must be a safetensors file, .* Convert"):
            phew.prune_checkpoint(
                lenet5(), tmp_path / name, IMAGE, density=0.1, out=tmp_path / "out"
            )
