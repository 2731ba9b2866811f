"""Mask files: safetensors files of masks packed into bits.

A file holds one uint8 tensor per mask, of its elements packed into bits (see `PackedMasks`). The
metadata's entry "phew" is JSON, for a mask of the shape (2, 3) whose 6 bits are one byte:

    {"format": 2, "masks": {"weight": [2, 3]}, "unit_masks": {}, "active_units": {},
     "fan_ins": {"weight": [[[1, 2, 3, 1], [6, 3, 1, 1], 0, true]]},
     "info": {"method": "PHEW", "density": 0.5}}

Files of format 1 lack the checksum (see `phew.support.safetensors`). Older ones have no fan-ins.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from phew.graph.fan_in import FanIn, check_fan_ins
from phew.masks.packed import PackedMasks
from phew.support.safetensors import check_checksum, open_checked, write_checked

Scalar: TypeAlias = str | int | float | bool

_FORMAT = 2
_WITHOUT_CHECKSUM = 1
_HEADER = "phew"


@dataclass(frozen=True)
class MaskFile:
    """The content of a mask file (see `phew.Masks`)."""

    masks: PackedMasks
    unit_masks: PackedMasks
    active_units: Mapping[str, tuple[int, int]]
    fan_ins: Mapping[str, tuple[FanIn, ...]]
    info: Mapping[str, Scalar]


def check_names(masks: Container[str], unit_masks: Iterable[str]) -> None:
    """Raise ValueError if a name is that of a mask and of a unit mask."""
    for name in unit_masks:
        if name in masks:
            raise ValueError(
                f"unit_masks must name other parameters than masks, got {name!r} in both. "
                "Leave it out of one."
            )


def check_info(info: Mapping[str, object]) -> None:
    """Raise TypeError if a value is not one that a mask file can hold."""
    for key, value in info.items():
        if not isinstance(value, str | int | float | bool):
            raise TypeError(
                f"info[{key!r}] must be a str, int, float or bool, got {value!r}. "
                "Convert it, e.g. with tensor.item()."
            )


def check_active_units(active_units: Mapping[str, Any], masks: Container[str]) -> None:
    """Raise an error unless each value counts active units of all units of a mask's parameter.

    Raises:
        TypeError: If a value is no pair of int.
        ValueError: If one counts more active units than units, or is of no mask.
    """
    for name, counts in active_units.items():
        is_pair = isinstance(counts, Sequence) and len(counts) == 2
        if not is_pair or not all(type(count) is int for count in counts):
            raise TypeError(
                f"active_units[{name!r}] must be two int, the active units and all, got {counts!r}."
            )
        if not 0 <= counts[0] <= counts[1]:
            raise ValueError(
                f"active_units[{name!r}] must be at most all units, got {counts[0]} of {counts[1]}."
            )
        if name not in masks:
            raise ValueError(f"active_units must name masks, got {name!r}.")


def write_mask_file(path: str | os.PathLike[str], content: MaskFile) -> None:
    """Write a mask file, whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    header = {
        "format": _FORMAT,
        "masks": content.masks.shapes,
        "unit_masks": content.unit_masks.shapes,
        "active_units": content.active_units,
        "fan_ins": content.fan_ins,
        "info": content.info,
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
    check_names(masks, unit_masks)
    check_active_units(header["active_units"], masks)
    check_info(header["info"])
    active_units = {name: (on, of) for name, (on, of) in header["active_units"].items()}
    fan_ins = {
        name: tuple(
            FanIn(tuple(shape), tuple(strides), offset, size_matters)
            for shape, strides, offset, size_matters in each
        )
        for name, each in header.get("fan_ins", {}).items()
    }
    check_fan_ins(fan_ins, masks.shapes)
    return MaskFile(masks, unit_masks, active_units, fan_ins, header["info"])


def _checked_shape(name: str, shape: Any) -> torch.Size:
    """Return a shape that JSON holds, if a tensor can have it."""
    is_shape = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
    # Torch multiplies sizes in turn, so that those beside a 0 must not be too many either.
    if not is_shape or math.prod(max(1, size) for size in shape) >= 2**63:
        raise ValueError(f"{name!r} must have the shape of a tensor, got {shape!r}")
    return torch.Size(shape)
