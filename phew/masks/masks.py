"""Masks: which weights of a model are kept; applying, saving, loading and summing them up."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from phew.distributed.sharding import equal, reshard
from phew.masks.fit import check_fit
from phew.masks.hold import hold
from phew.masks.mask_file import (
    MaskFile,
    Scalar,
    check_active_units,
    check_info,
    check_names,
    read_mask_file,
    write_mask_file,
)
from phew.masks.packed import PackedMasks
from phew.masks.summary import Summary, SummaryRow
from phew.masks.unpacked import UnpackedMasks


class Masks(Mapping[str, torch.Tensor]):
    """Map the name of each prunable parameter to a bool tensor of its shape, true = kept.

    Masks that were loaded, or sampled from a checkpoint, are packed, one bit per weight. A mask
    that is asked for is unpacked, and then takes one byte per weight.

    The masks of a model that is sharded by FSDP2 or tensor parallelism may be DTensors, of which
    each rank holds its part. Counts are then of all parts. `pack`, `save` and `==` gather masks, so
    all ranks must call them.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Linear(3, 2)
        >>> masks = phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)})
        >>> masks.apply(model)
        >>> int(model.weight.count_nonzero())
        2
    """

    def __init__(
        self,
        masks: Mapping[str, torch.Tensor],
        *,
        unit_masks: Mapping[str, torch.Tensor] | None = None,
        active_units: Mapping[str, tuple[int, int]] | None = None,
        num_kept: Mapping[str, int] | None = None,
        info: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Take the masks as they are, without copying them.

        Args:
            masks: Parameter name, as in `named_parameters()`, to bool tensor.
            unit_masks: Name of a bias or normalisation parameter to bool tensor of its shape,
                false where the unit is dead in the mask.
            active_units: Name of a weight parameter to (units with a kept incoming weight, units).
            num_kept: Name of a parameter whose mask is sharded to the number of its kept weights;
                without it, all ranks must count together.
            info: How the masks were made: method, density, seed, num_walks, phew_version, ...

        Raises:
            TypeError: If a mask is not a bool tensor, a value of `active_units` not two int, or
                one of `info` not a scalar.
            ValueError: If a name is in both `masks` and `unit_masks`, or `active_units` counts
                more than all units, or those of no mask.
        """
        if isinstance(masks, Masks):
            masks = masks.contents
        self._masks = masks if isinstance(masks, PackedMasks) else UnpackedMasks(masks, num_kept)
        self._unit_masks = UnpackedMasks(unit_masks or {}, argument="unit_masks")
        self._active_units = dict(active_units or {})
        self._info = dict(info or {})
        check_names(self._masks, self._unit_masks)
        check_active_units(self._active_units, self._masks)
        check_info(self._info)

    def __getitem__(self, name: str) -> torch.Tensor:
        """The mask of a parameter, the same tensor each time."""
        return self._masks.open(name)

    def __iter__(self) -> Iterator[str]:
        """The names of the masked parameters."""
        return iter(self._masks)

    def __len__(self) -> int:
        """The number of masked parameters."""
        return len(self._masks)

    def __eq__(self, other: object) -> bool:
        """Whether both keep the same weights and units, however they were made."""
        if not isinstance(other, Masks):
            return NotImplemented
        return _equal(self._masks, other._masks) and _equal(self._unit_masks, other._unit_masks)

    def __getstate__(self) -> dict[str, Any]:
        copies = {"_masks": self._masks.copy(), "_unit_masks": self._unit_masks.copy()}
        return self.__dict__ | copies

    def __repr__(self) -> str:
        """The counts and how the masks were made, in one line."""
        parameters = f"{len(self)} parameter{'' if len(self) == 1 else 's'}"
        if self._masks.ranks_count_together:
            # One rank alone, e.g. in a debugger, would wait for the others.
            kept = f"sharded, {self.num_weights:,} weights"
        else:
            kept = f"{self.num_kept:,} of {self.num_weights:,} weights kept ({self.density:.2%})"
        info = [f"{key}={value!r}" for key, value in self._info.items()]
        return f"Masks({', '.join([parameters, kept, *info])})"

    @property
    def contents(self) -> PackedMasks | UnpackedMasks:
        """The masks as they are held: packed ones are unpacked anew at each access."""
        return self._masks

    @property
    def unit_masks(self) -> Mapping[str, torch.Tensor]:
        """Name of a bias or normalisation parameter to bool tensor, false = the unit is dead."""
        return dict(self._unit_masks)

    @property
    def active_units(self) -> Mapping[str, tuple[int, int]]:
        """Name of a weight parameter to (units with a kept incoming weight, units)."""
        return dict(self._active_units)

    @property
    def info(self) -> Mapping[str, Scalar]:
        """The facts of how the masks were made: method, density, seed, ..."""
        return dict(self._info)

    @property
    def num_walks(self) -> int | None:
        """Walks that were needed; None where the masks were not walked."""
        num_walks = self._info.get("num_walks")
        return num_walks if isinstance(num_walks, int) else None

    @property
    def num_weights(self) -> int:
        """Prunable weights."""
        return sum(shape.numel() for shape in self._masks.shapes.values())

    @property
    def num_kept(self) -> int:
        """Kept weights."""
        return sum(map(self._masks.num_kept, self._masks))

    @property
    def density(self) -> float:
        """Kept / prunable weights; 1 where there are none."""
        return self.summary().total.density

    def apply(self, model: nn.Module, *, unit_masks: bool = False) -> None:
        """Zero the pruned weights of `model`, in place, and hold them at zero.

        They stay zero through training with any `torch.optim.Optimizer`, `load_state_dict`,
        `copy.deepcopy`, pickling, `torch.compile`, DistributedDataParallel, FSDP2 and tensor
        parallelism, and have no gradient. The keys of `state_dict()` stay as they are. Masks
        applied before are released first (see `phew.release`). Each rank takes its part of the mask
        of a sharded parameter.

        Masks belong to names. What is put in the place of a held parameter or module is held from
        the next step of an optimizer that trains the model, or from the next `load_state_dict`: by
        sharding, a conversion, weight or spectral normalisation, `torch.nn.utils.prune`, a wrapper,
        a loader or an assignment. A UserWarning names, once, what cannot take the mask of its name:
        a parameter of another shape or type, one that is gone, one that is computed.

        Not held are values that are written by hand (`weight.data.copy_`, adapters that are merged
        into a weight, loaders that call `_load_from_state_dict` or nothing in place of
        `load_state_dict`) until the next step of an optimizer that trains the weight; what is added
        to a held weight's product, as adapters do; parameters that are passed to a model
        (`torch.func.functional_call`), and their gradients; a copy of a ScriptModule that is no
        part of a module. An optimizer that is no `torch.optim.Optimizer` gets gradients without
        pruned weights, so if it goes element by element, as SGD and Adam do, zeros stay; nothing
        undoes what else it writes, or follows what is replaced. Apply the masks again after these.

        Args:
            model: The model that the masks were made from.
            unit_masks: Whether to hold the biases and normalisation parameters of dead units too.

        Raises:
            ValueError: If the masks do not fit the model, or a parameter cannot be held. The model
                is unchanged then, and whatever else is raised.

        Example:
            >>> import torch, phew
            >>> model = torch.nn.Linear(3, 2)
            >>> phew.Masks({"weight": torch.zeros(2, 3, dtype=torch.bool)}).apply(model)
            >>> model(torch.ones(3)).equal(model.bias)
            True
        """
        reshard(model)
        masks: Mapping[str, torch.Tensor] = self._masks
        if unit_masks:
            # A dict would hold all packed masks unpacked at once.
            masks = ChainMap(self._unit_masks, self._masks)  # type: ignore[arg-type]
        parameters = dict(model.named_parameters(remove_duplicate=False))
        check_fit(masks, parameters)
        hold(model, masks)

    def summary(self) -> Summary:
        """Count what is kept, per parameter and in all.

        Returns:
            The counts; `print` shows them as a table.

        Example:
            >>> import torch, phew
            >>> print(phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)}).summary())
            parameter  shape  kept  weights  density
            ----------------------------------------
            weight     2 x 3     2        6   33.33%
            ----------------------------------------
            total                2        6   33.33%
        """
        rows = [
            SummaryRow(
                name,
                tuple(shape),
                self._masks.num_kept(name),
                shape.numel(),
                *self._active_units.get(name, (None, None)),
            )
            for name, shape in self._masks.shapes.items()
        ]
        return Summary(tuple(rows))

    def pack(self) -> PackedMasks:
        """Return the masks in one bit per weight, on the CPU; sharded ones are gathered."""
        return PackedMasks.of(self._masks)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the masks to a safetensors file, whole or not at all.

        It holds one bit per weight; `phew/masks/mask_file.py` describes the format.

        Args:
            path: The file; replaced if it exists.

        Raises:
            OSError: If the file cannot be written.

        Example:
            >>> import pathlib, tempfile, torch, phew
            >>> path = pathlib.Path(tempfile.mkdtemp(), "masks.safetensors")
            >>> masks = phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)})
            >>> masks.save(path)
            >>> phew.Masks.load(path) == masks
            True
        """
        unit_masks = PackedMasks.of(self._unit_masks)
        write_mask_file(path, MaskFile(self.pack(), unit_masks, self._active_units, self._info))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Masks:
        """Read masks that `save` wrote. Nothing in the file is executed.

        Args:
            path: The file.

        Returns:
            The masks, on the CPU.

        Raises:
            OSError: If there is no such file, or it cannot be read.
            ValueError: If the file is cut off, damaged or not a mask file of phew.

        Example: see `save`.
        """
        file = read_mask_file(path)
        return cls(
            file.masks,
            unit_masks=file.unit_masks,
            active_units=file.active_units,
            info=file.info,
        )


def _equal(masks: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor]) -> bool:
    return masks.keys() == others.keys() and all(
        equal(mask, others[name]) for name, mask in masks.items()
    )
