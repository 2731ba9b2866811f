"""Mask files: safetensors files of masks packed into bits.

A file holds one uint8 tensor per mask, of its elements packed into bits (see `PackedMasks`). The
metadata's entry "phew" is JSON, for a mask of the shape (2, 3) whose 6 bits are one byte:

    {"format": 1, "masks": {"weight": [2, 3]}, "unit_masks": {}, "active_units": {},
     "info": {"method": "PHEW", "density": 0.5}}
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import safetensors
import safetensors.numpy
import torch

from phew.masks.packed import PackedMasks
from phew.support.files import written_whole

Scalar: TypeAlias = str | int | float | bool

_FORMAT = 1


@dataclass(frozen=True)
class MaskFile:
    """The content of a mask file (see `phew.Masks`)."""

    masks: PackedMasks
    unit_masks: PackedMasks
    active_units: Mapping[str, tuple[int, int]]
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
        "info": content.info,
    }
    packed = {**content.masks.packed, **content.unit_masks.packed}
    arrays = {name: bits.numpy() for name, bits in packed.items()}
    with written_whole(Path(path)) as partial:
        mode = partial.stat().st_mode
        try:
            safetensors.numpy.save_file(arrays, partial, {"phew": json.dumps(header)})
        except safetensors.SafetensorError as error:
            raise OSError(errno.EIO, str(error)) from error
        # safetensors makes files that only their owner can read.
        partial.chmod(mode)


def read_mask_file(path: str | os.PathLike[str]) -> MaskFile:
    """Read a mask file; its masks stay packed, in memory that is mapped to the file.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        ValueError: If the file is cut off or not a mask file of phew.
    """
    # Errors of opening name the path, which those of safetensors do not.
    Path(path).open("rb").close()
    rule = f"path must be a file that Masks.save wrote, got {os.fspath(path)!r}, which"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{rule} is cut off or not safetensors ({error}). Copy or save it again."
        ) from error
    if "phew" not in metadata:
        raise ValueError(f"{rule} is another kind of safetensors. Save masks with Masks.save.")
    try:
        return _parse(json.loads(metadata["phew"]), tensors)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{rule} cannot be read ({type(error).__name__}: {error}). "
            "Save the masks again, or upgrade torch-phew."
        ) from error


def _parse(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> MaskFile:
    if header["format"] != _FORMAT:
        raise ValueError(f"format must be {_FORMAT}, got {header['format']!r}")
    masks, unit_masks = (
        PackedMasks(shapes, {name: tensors[name] for name in shapes})
        for shapes in (header["masks"], header["unit_masks"])
    )
    active_units = {name: (on, of) for name, (on, of) in header["active_units"].items()}
    check_names(masks, unit_masks)
    check_info(header["info"])
    return MaskFile(masks, unit_masks, active_units, header["info"])
