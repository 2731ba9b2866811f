"""Checkpoints in safetensors files, whose tensors are read where they are on disk.

Hugging Face divides a large checkpoint among several files, and lists in
`model.safetensors.index.json` which tensor is in which:

    {"weight_map": {"fc1.weight": "model-00001-of-00002.safetensors",
                    "fc2.weight": "model-00002-of-00002.safetensors"}}
"""

from __future__ import annotations

import json
import math
import mmap
import os
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from phew.checkpoints.header import DTYPES, Entry, read_entries
from phew.graph.weights import aligned
from phew.support.files import check_regular, check_replaceable, written_whole
from phew.support.safetensors import open_checked

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_OTHER_WEIGHTS = {".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth"}


class Checkpoint:
    """The tensors of a checkpoint, read only where they are used.

    Args:
        path: A safetensors file, or a folder with one or several as Hugging Face names them.

    Raises:
        OSError: If there is no such file.
        ValueError: If safetensors refuses a file, or it lacks a tensor of the index.
    """

    def __init__(self, path: Path) -> None:
        if path.is_file() and path.suffix in {".json", *_OTHER_WEIGHTS}:
            raise ValueError(
                "checkpoint must be a safetensors file, or a folder with some, "
                f"got {str(path)!r}. Convert it with safetensors.torch.save_file, or load it into "
                "the model: phew prune --weights."
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
            for name, entry in read_entries(file)
            # A file may hold tensors that the index says are in another file.
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
        check_regular(index)
        try:
            files = dict(json.loads(index.read_text("utf-8"))["weight_map"].items())
            others = [file for file in files.values() if not _is_name(file)]
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"{str(index)!r} must have a weight_map from tensors to files, got "
                f"{type(error).__name__}: {error}. Copy it again."
            ) from error
        if others:
            raise ValueError(
                f"{str(index)!r} must name files of its own folder, got {others[0]!r}."
            )
        return files

    @cached_property
    def identity(self) -> list[tuple[str, int, int]]:
        """The names, sizes and times of the files, which tell this checkpoint from another."""
        stats = [(file.name, file.stat()) for file in self.files]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]

    @property
    def names(self) -> list[str]:
        """The names of all tensors."""
        return [*self._entries]

    def stored_name(self, names: Sequence[str]) -> str:
        """Return the name under which a tensor of several names is stored, the first if none is."""
        return next((name for name in names if name in self._entries), names[0])

    def file_of(self, name: str) -> Path:
        """Return the file that a tensor is in."""
        return self._entry(name).file

    def tensor(self, name: str, shape: Iterable[int]) -> torch.Tensor:
        """Return a tensor that is a part of its file, mapped into memory.

        It may begin at any byte, also where its type must not: see `phew.graph.weights.data_of`.

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
        """Return a file as memory; each is mapped once, because that takes a file descriptor."""
        if file not in self._maps:
            with file.open("rb") as stream:
                self._maps[file] = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[file]

    def copy_of(self, name: str) -> torch.Tensor:
        """Return a copy of a tensor of any type."""
        with open_checked(self.file_of(name), "pt") as file:
            values: torch.Tensor = file.get_tensor(name)
            return aligned(values).clone()

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

        A file gets its name when it is whole, so one that is there already is left as it is. Files
        beside those of weights (configuration, tokenizer) are copied. Copies have the permissions
        of their files.

        Args:
            masks: Boolean tensors by name.
            mask_names: The name of each tensor that is pruned, to the name of its mask.
            out: The folder to write to, another than that of the checkpoint.
        """
        for file in [*self.files, *self._other_files()]:
            if not (out / file.name).exists():
                with written_whole(out / file.name, mode_of=file) as partial:
                    shutil.copyfile(file, partial)
                    self._zero(file, masks, mask_names, partial)

    def check_can_write(self, out: Path) -> None:
        """Raise an error if `write_pruned` could not give a file its name in a folder."""
        for file in [*self.files, *self._other_files()]:
            check_replaceable(out / file.name)

    def _other_files(self) -> list[Path]:
        """Return the files beside those of weights, where links lead, as in caches of the Hub."""
        if not self.path.is_dir():
            return []
        return [
            file
            for file in sorted(self.folder.iterdir())
            if file.is_file() and file.suffix not in {".safetensors", *_OTHER_WEIGHTS}
        ]

    def _zero(
        self,
        file: Path,
        masks: Mapping[str, torch.Tensor],
        mask_names: Mapping[str, str],
        copy: Path,
    ) -> None:
        """Zero the pruned weights of `file` in a copy of it."""
        for name, entry in self._entries.items():
            if entry.file == file and name in mask_names and entry.num_bytes:
                # Types that NumPy lacks, such as bfloat16, are written as that many bytes.
                size = entry.num_bytes // math.prod(entry.shape)
                weights = np.memmap(copy, f"V{size}", "r+", entry.offset, entry.shape)
                weights[~masks[mask_names[name]].cpu().numpy()] = np.zeros((), f"V{size}")
                weights.flush()


def _is_name(file: str) -> bool:
    """Return whether a file of a folder can have a name."""
    if file in ("", "..") or Path(file).name != file:
        return False
    try:
        return b"\0" not in os.fsencode(file)
    except UnicodeEncodeError:
        return False
