"""The header of a safetensors file: the type, shape and place of each tensor in it.

A file is eight bytes, the length of its header; the header, which is JSON; and the tensors. One
that holds the bias `b` of two float32 and the weight `w` of shape (2, 3), in 166 bytes:

    bytes 0 - 7        126 as a little-endian integer: the header takes 126 bytes
    bytes 8 - 133      {"b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]}}
    bytes 134 - 141    b: 2 x 4 bytes; offsets count from the end of the header
    bytes 142 - 165    w: 6 x 4 bytes

Here `w` begins at byte 142, which is no multiple of 4: a processor may refuse to read float32
there. Recent writers fill the header up with spaces so that this does not happen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Types of weights that can be pruned."""

_SIZES = {name: dtype.itemsize for name, dtype in DTYPES.items()}
_LONGEST_HEADER = 10**8


@dataclass(frozen=True)
class Entry:
    """A tensor in a file.

    Attributes:
        file: The file.
        dtype: Its type as the format calls it, e.g. "F32".
        shape: Its shape.
        offset: Its first byte, counted from the beginning of the file.
        num_bytes: The bytes that it takes.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int


def read_entries(file: Path) -> Iterator[tuple[str, Entry]]:
    """Yield the name and the entry of each tensor in a file.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is cut off or no safetensors file.
    """
    size = file.stat().st_size
    start, header = _read_header(file, size)
    for name, fields in header.items():
        if name == "__metadata__":
            continue
        if not _is_valid(fields):
            raise _damaged(file, f"no valid entry for {name!r}")
        first, last = (start + offset for offset in fields["data_offsets"])
        entry = Entry(file, fields["dtype"], tuple(fields["shape"]), first, last - first)
        if last > size:
            raise _damaged(file, f"{name!r} ends at byte {last:,} of {size:,}")
        num_bytes = math.prod(entry.shape) * _SIZES.get(entry.dtype, 0)
        if first > last or (entry.dtype in _SIZES and num_bytes != last - first):
            raise _damaged(file, f"{name!r} of {entry.dtype} {entry.shape} in {last - first} bytes")
        yield name, entry


def _read_header(file: Path, size: int) -> tuple[int, dict[str, Any]]:
    """Return where the tensors of a file begin, and its header."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size, _LONGEST_HEADER):
            raise _damaged(file, f"its header ends at byte {8 + length:,} of {size:,}")
        try:
            header = json.loads(stream.read(length))
        except (RecursionError, ValueError) as error:
            raise _damaged(file, "its header is not JSON, or nested too deep") from error
    if not isinstance(header, dict):
        raise _damaged(file, "its header is not an object")
    return 8 + length, header


def _is_valid(fields: Any) -> bool:
    """Return whether the fields of a tensor are there and of the right types."""
    return (
        isinstance(fields, dict)
        and isinstance(fields.get("dtype"), str)
        and _are_sizes(fields.get("shape"))
        and _are_sizes(fields.get("data_offsets"))
        and len(fields["data_offsets"]) == 2
    )


def _are_sizes(values: Any) -> bool:
    """Return whether a value of JSON is a list of integers in [0, 2^63); `true` is not one."""
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value < 2**63 for value in values
    )


def _damaged(file: Path, reason: str) -> ValueError:
    return ValueError(
        f"{str(file)!r} must be a whole safetensors file, got one that is cut off or damaged: "
        f"{reason}. Copy it again."
    )
