"""Checkpoints in safetensors files, whose tensors are read where they are on disk.

A file is eight bytes, the length of its header; the header, JSON that gives the type, shape and
place of each tensor; and the tensors. Hugging Face divides a checkpoint among several files, and
lists in `model.safetensors.index.json` which tensor is in which.
"""

from __future__ import annotations

import json
import math
import mmap
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from phew.support.files import written_whole

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Types of weights that can be pruned."""

_SIZES = {name: dtype.itemsize for name, dtype in DTYPES.items()}
_OTHER_WEIGHTS = {".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth"}
_LONGEST_HEADER = 10**8


@dataclass(frozen=True)
class Entry:
    """A tensor in a file: its type as the format calls it, and its first byte."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int


class Checkpoint:
    """The tensors of a checkpoint, read only where they are used.

    Args:
        path: A safetensors file, or a folder with one or several as Hugging Face names them.

    Raises:
        OSError: If there is no such file.
        ValueError: If a file is cut off, is no safetensors file, or lacks a tensor of the index.
    """

    def __init__(self, path: Path) -> None:
        if path.is_file() and path.suffix in {".json", *_OTHER_WEIGHTS}:
            raise ValueError(
                "checkpoint must be a safetensors file, or a folder with some, "
                f"got {str(path)!r}. Convert it with safetensors.torch.save_file."
            )
        self.path = path
        self.folder = path if path.is_dir() else path.parent
        self._index = self._read_index() if path.is_dir() else None
        names = {FILE: None} if self._index is None else dict.fromkeys(self._index.values())
        self.files = [self.folder / name for name in names] if path.is_dir() else [path]
        self._maps: dict[Path, mmap.mmap] = {}
        self._entries = {
            name: entry
            for file in self.files
            for name, entry in _entries(file)
            # A file may hold what the index says is in another.
            if self._index is None or self._index.get(name) == file.name
        }
        for name, file in (self._index or {}).items():
            if name not in self._entries:
                raise ValueError(
                    f"{str(self.folder / file)!r} must hold {name!r}, as {INDEX} says."
                )

    def _read_index(self) -> dict[str, str] | None:
        index = self.folder / INDEX
        if (self.folder / FILE).exists() or not index.exists():
            return None
        try:
            weight_map = json.loads(index.read_text())["weight_map"]
            files = {str(name): str(file) for name, file in weight_map.items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{str(index)!r} must have a weight_map from tensors to files, got "
                f"{type(error).__name__}: {error}. Copy it again."
            ) from error
        for file in files.values():
            if Path(file).name != file:
                raise ValueError(f"{str(index)!r} must name files of its own folder, got {file!r}.")
        return files

    @cached_property
    def identity(self) -> list[tuple[str, int, int]]:
        """What tells this checkpoint from another: names, sizes and times of its files."""
        stats = [(file.name, file.stat()) for file in self.files]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]

    def stored_name(self, names: Sequence[str]) -> str:
        """Return the name under which a tensor of several names is stored, the first if none is."""
        return next((name for name in names if name in self._entries), names[0])

    def file_of(self, name: str) -> Path:
        """Return the file that a tensor is in."""
        return self._entry(name).file

    def tensor(self, name: str, shape: Iterable[int]) -> torch.Tensor:
        """Return a tensor that is a part of its file, mapped into memory.

        Args:
            name: Its name.
            shape: The shape that it must have.

        Raises:
            ValueError: If there is none, or it is of another shape or not of weights.
        """
        entry = self._entry(name)
        where = f"{name!r} in {str(entry.file)!r}"
        if entry.shape != tuple(shape):
            raise ValueError(
                f"{where} must have the shape {tuple(shape)} of the model's parameter, "
                f"got {entry.shape}. Give the model that the checkpoint is of."
            )
        if entry.dtype not in DTYPES:
            raise ValueError(
                f"{where} must be of type {', '.join(DTYPES)}, got {entry.dtype}. Convert it."
            )
        memory = np.frombuffer(self._map(entry.file), np.uint8, entry.num_bytes, entry.offset)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            flat = torch.from_numpy(memory)
        return flat.view(DTYPES[entry.dtype]).view(entry.shape)

    def _map(self, file: Path) -> mmap.mmap:
        """Return a file as memory: once, as each time takes a file descriptor."""
        if file not in self._maps:
            with file.open("rb") as stream:
                self._maps[file] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[file]

    def copy_of(self, name: str) -> torch.Tensor:
        """Return a copy of a tensor of any type."""
        with safetensors.safe_open(self.file_of(name), framework="pt") as file:
            values: torch.Tensor = file.get_tensor(name)
        return values

    def __contains__(self, name: str) -> bool:
        """Return whether a tensor is stored under a name."""
        return name in self._entries

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            known = ", ".join(map(repr, list(self._entries)[:3]))
            raise ValueError(
                f"{str(self.path)!r} must hold {name!r}, got {known}, ... "
                "Give the model that the checkpoint is of, with the same names. (Some models of "
                "transformers have other names in memory: load these, and use phew.prune.)"
            )
        return self._entries[name]

    def write_pruned(
        self, masks: Mapping[str, torch.Tensor], mask_names: Mapping[str, str], out: Path
    ) -> None:
        """Write the checkpoint with pruned weights zeroed, file by file.

        A file gets its name when it is whole, and one that is there is taken to be. Files beside
        those of weights (configuration, tokenizer) are copied.

        Args:
            masks: Boolean tensors by name.
            mask_names: The name of its mask for each name of a tensor that is pruned.
            out: The folder to write to, another than that of the checkpoint.
        """
        for file in self.files:
            if not (out / file.name).exists():
                with written_whole(out / file.name) as partial:
                    shutil.copyfile(file, partial)
                    self._zero(file, masks, mask_names, partial)
        if self.path.is_dir():
            for file in sorted(self.folder.iterdir()):
                is_other = file.suffix not in {".safetensors", *_OTHER_WEIGHTS}
                if file.is_file() and is_other and not (out / file.name).exists():
                    with written_whole(out / file.name) as partial:
                        shutil.copyfile(file, partial)

    def _zero(
        self,
        file: Path,
        masks: Mapping[str, torch.Tensor],
        mask_names: Mapping[str, str],
        copy: Path,
    ) -> None:
        for name, entry in self._entries.items():
            if entry.file == file and name in mask_names and entry.num_bytes:
                size = entry.num_bytes // math.prod(entry.shape)
                weights = np.memmap(copy, f"V{size}", "r+", entry.offset, entry.shape)
                weights[~masks[mask_names[name]].cpu().numpy()] = np.zeros((), f"V{size}")
                weights.flush()


def _entries(file: Path) -> Iterator[tuple[str, Entry]]:
    """Yield the tensors of a file."""
    size = file.stat().st_size
    start, header = _header(file, size)
    for name, fields in header.items():
        if name == "__metadata__":
            continue
        try:
            first, last = (start + int(offset) for offset in fields["data_offsets"])
            entry = Entry(file, str(fields["dtype"]), tuple(fields["shape"]), first, last - first)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(file, f"no valid entry for {name!r}") from error
        if last > size:
            raise _damaged(file, f"{name!r} ends at byte {last:,} of {size:,}")
        num_bytes = math.prod(entry.shape) * _SIZES.get(entry.dtype, 0)
        if not start <= first <= last or (entry.dtype in _SIZES and num_bytes != last - first):
            raise _damaged(file, f"{name!r} of {entry.dtype} {entry.shape} in {last - first} bytes")
        yield name, entry


def _header(file: Path, size: int) -> tuple[int, dict[str, Any]]:
    """Return where the tensors of a file begin, and its header."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size, _LONGEST_HEADER):
            raise _damaged(file, f"its header ends at byte {8 + length:,} of {size:,}")
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise _damaged(file, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(file, "its header is not an object")
    return 8 + length, header


def _damaged(file: Path, reason: str) -> ValueError:
    return ValueError(
        f"{str(file)!r} must be a whole safetensors file, got one that is cut off or damaged: "
        f"{reason}. Copy it again."
    )
