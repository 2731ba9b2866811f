"""Mask files: safetensors files of masks packed into bits.

A file holds one uint8 tensor per mask, of its elements packed into bits (see `PackedMasks`). The
metadata's entry "phew" is JSON, for a mask of the shape (2, 3) whose 6 bits are one byte:

    {"format": 2, "masks": {"weight": [2, 3]}, "unit_masks": {}, "active_units": {},
     "fan_ins": {"weight": [[[1, 2, 3, 1], [6, 3, 1, 1], 0, true]]},
     "digests": {"weight": "float32 5feceb66ffc86f38"},
     "info": {"method": "PHEW", "density": 0.5}}

Files of format 1 lack the checksum (see `phew.support.safetensors`). Older ones have no fan-ins
and no digests.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from phew.graph.fan_in import FanIn
from phew.masks.facts import Facts, check_facts, check_names
from phew.masks.packed import PackedMasks
from phew.support.safetensors import check_checksum, open_checked, write_checked

_FORMAT = 2
_WITHOUT_CHECKSUM = 1
_HEADER = "phew"


@dataclass(frozen=True)
class MaskFile:
    """The content of a mask file (see `phew.Masks`)."""

    masks: PackedMasks
    unit_masks: PackedMasks
    facts: Facts


def write_mask_file(path: str | os.PathLike[str], content: MaskFile) -> None:
    """Write a mask file, whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    header = {
        "format": _FORMAT,
        "masks": content.masks.shapes,
        "unit_masks": content.unit_masks.shapes,
        **content.facts._asdict(),
    }
    packed = {**content.masks.packed, **content.unit_masks.packed}
    write_checked(Path(path), packed, {_HEADER: json.dumps(header)}, _HEADER)


def read_mask_file(path: str | os.PathLike[str]) -> MaskFile:
    """Read a mask file; its masks stay packed, in memory that is mapped to the file.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If the file is cut off, damaged or not a mask file of phew.
    """
    rule = f"path must be a file that Masks.save wrote, got {os.fspath(path)!r}, which"
    with open_checked(Path(path), "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _HEADER not in metadata:
        raise ValueError(f"{rule} is another kind of safetensors. Save masks with Masks.save.")
    try:
        return _parse(metadata, tensors)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{rule} cannot be read ({type(error).__name__}: {error}). "
            "Copy or save the masks again, or upgrade torch-phew."
        ) from error


def _parse(metadata: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> MaskFile:
    header = json.loads(metadata[_HEADER])
    if header["format"] not in (_FORMAT, _WITHOUT_CHECKSUM):
        raise ValueError(
            f"format must be {_WITHOUT_CHECKSUM} or {_FORMAT}, got {header['format']!r}"
        )
    if header["format"] != _WITHOUT_CHECKSUM:
        check_checksum(metadata, tensors, _HEADER)
    masks, unit_masks = (
        PackedMasks(
            {name: _checked_shape(name, shape) for name, shape in shapes.items()},
            {name: tensors[name] for name in shapes},
        )
        for shapes in (header["masks"], header["unit_masks"])
    )
    fan_ins = {
        name: tuple(
            FanIn(tuple(shape), tuple(strides), offset, size_matters)
            for shape, strides, offset, size_matters in each
        )
        for name, each in header.get("fan_ins", {}).items()
    }
    facts = Facts(header["active_units"], fan_ins, header.get("digests", {}), header["info"])
    check_names(masks, unit_masks)
    check_facts(facts, masks.shapes)
    active_units = {name: (on, of) for name, (on, of) in facts.active_units.items()}
    return MaskFile(masks, unit_masks, facts._replace(active_units=active_units))


def _checked_shape(name: str, shape: Any) -> torch.Size:
    """Return a shape that JSON holds, if a tensor can have it."""
    is_shape = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    # Torch multiplies sizes in turn, so that those beside a 0 must not be too many either.
    if not is_shape or math.prod(max(1, size) for size in shape) >= 2**63:
        raise ValueError(f"{name!r} must have the shape of a tensor, got {shape!r}")
    return torch.Size(shape)
