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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from phew.support.safetensors import open_checked

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Types of weights that can be pruned."""


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
        ValueError: If it is one that safetensors refuses.
    """
    # Safetensors does not tell where a tensor is, so its header is read once more, without checks.
    with open_checked(file, "numpy"), file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length).decode())
    header.pop("__metadata__", None)
    for name, fields in header.items():
        first, end = fields["data_offsets"]
        shape = tuple(fields["shape"])
        yield name, Entry(file, fields["dtype"], shape, 8 + length + first, end - first)
