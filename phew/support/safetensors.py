"""Safetensors files: read once safetensors has checked them, written whole and with a checksum.

What phew writes has a text in the metadata that says what the file is, and in the entry
"phew_sha256" the SHA-256 of that text followed by the bytes of all tensors, sorted by their names,
so that a bit that flips on disk is no other mask or network.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

from phew.support.files import check_regular, written_whole

_CHECKSUM = "phew_sha256"

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The names of types in the format."""


def write_checked(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str], checked: str
) -> None:
    """Write tensors and a checksum, whole or not at all; a file that exists is replaced.

    Args:
        path: The file.
        tensors: The tensors by name.
        metadata: Texts by name.
        checked: The name of the text that the checksum is of, beside the tensors.

    Raises:
        OSError: If the file cannot be written.
        TypeError: If a tensor's type is none of the format's.
    """
    header = _header(tensors, {**metadata, _CHECKSUM: _checksum(metadata[checked], tensors)})
    # A writer of safetensors would hide the number of the system's error, and may leave files of
    # other names behind if it is killed.
    with written_whole(path) as partial, partial.open("wb") as stream:
        stream.write(header)
        for each in tensors.values():
            stream.write(bytes_of(each).data)


def check_checksum(
    metadata: Mapping[str, str], tensors: Mapping[str, torch.Tensor], checked: str
) -> None:
    """Raise ValueError unless the checksum in a file's metadata is that of its content."""
    if metadata[_CHECKSUM] != _checksum(metadata[checked], tensors):
        raise ValueError("its bytes are not those that were saved, by their checksum")


def _header(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return what a safetensors file has before its tensors."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, each in tensors.items():
        if each.dtype not in _DTYPES:
            raise TypeError(
                f"{name!r} must be of a type that safetensors files hold, got {each.dtype}. "
                "Convert it, or use torch.save."
            )
        first, end = end, end + each.numel() * each.element_size()
        entries[name] = {
            "dtype": _DTYPES[each.dtype],
            "shape": list(each.shape),
            "data_offsets": [first, end],
        }
    text = json.dumps(entries, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _checksum(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(bytes_of(tensors[name]).data)
    return digest.hexdigest()


def bytes_of(tensor: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the bytes of a tensor on the CPU, without a copy if it lies in one piece."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy()


@contextmanager
def open_checked(path: Path, framework: str) -> Iterator[Any]:
    """Give a safetensors file, opened by `safetensors.safe_open`, if it is one without faults.

    Args:
        path: The file.
        framework: "pt", whose tensors are parts of the file, mapped into memory; or "numpy", to
            read no tensors: systems may refuse to map files that are larger than their memory.

    Raises:
        OSError: If the file cannot be read; it names the path.
        ValueError: If it is cut off, damaged, or no regular file; the message names the path.
    """
    check_regular(path)
    # Errors of opening name the path, which those of safetensors do not.
    path.open("rb").close()
    try:
        with safetensors.safe_open(path, framework=framework) as file:
            yield file
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{str(path)!r} must be a whole safetensors file, got one that is cut off or damaged: "
            f"{error}. Copy it again."
        ) from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno or errno.EIO, str(error), str(path)) from error
