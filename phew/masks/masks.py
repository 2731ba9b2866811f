"""Masks: which weights of a model are kept; applying, saving, loading and summing them up."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from phew.arguments import as_module
from phew.distributed.sharding import reshard
from phew.graph.fan_in import FanIn
from phew.masks.combine import Combine, are_equal, combined
from phew.masks.facts import Facts, Scalar, check_facts, check_names
from phew.masks.fit import check_fit
from phew.masks.held import count_not_zero, held_masks
from phew.masks.hold import hold
from phew.masks.mask_file import MaskFile, read_mask_file, write_mask_file
from phew.masks.other_weights import warn_of_other_weights
from phew.masks.packed import PackedMasks
from phew.masks.rescaling import Rescale, factors_of, multiply
from phew.masks.summary import Summary, summary_of
from phew.masks.unpacked import UnpackedMasks
from phew.support.html import html_text


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
        fan_ins: Mapping[str, Sequence[FanIn]] | None = None,
        digests: Mapping[str, str] | None = None,
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
            fan_ins: Name of a parameter to the weights that lead to each unit (see
                `phew.graph.fan_in.FanIn`), which rescaling asks for.
            digests: Name of a parameter to a digest of the weights that the masks were made from,
                by which other weights are recognised (see `phew.graph.digests`).
            info: How the masks were made: method, density, seed, num_walks, phew_version, digests
                of the graph and of all its prunable weights, ...

        Raises:
            TypeError: If a mask is not a bool tensor, a value of `active_units` not two int, one
                of `digests` no str, or one of `info` not a scalar.
            ValueError: If a name is in both `masks` and `unit_masks`, or `active_units` counts
                more than all units, or those of no mask, or a digest is of no mask, or a fan-in
                is not in its parameter.
        """
        if isinstance(masks, Masks):
            masks = masks.contents
        if not isinstance(masks, PackedMasks | UnpackedMasks):
            masks = UnpackedMasks(masks, num_kept)
        self._masks = masks
        self._unit_masks = UnpackedMasks(unit_masks or {}, argument="unit_masks")
        self._facts = Facts.of(active_units, fan_ins, digests, info)
        check_names(self._masks, self._unit_masks)
        check_facts(self._facts, self._masks.shapes)

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
        return are_equal(self._masks, other._masks) and are_equal(
            self._unit_masks, other._unit_masks
        )

    def __getstate__(self) -> dict[str, Any]:
        # Pickling a part of a larger tensor would pickle all of it. The copies stay here, because
        # processes that are spawned look for their memory after this call.
        self._masks.own_memory()
        self._unit_masks.own_memory()
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        check_facts(self._facts, self._masks.shapes)

    def __repr__(self) -> str:
        """The counts and how the masks were made, in one line."""
        parameters = f"{len(self)} parameter{'' if len(self) == 1 else 's'}"
        if self._masks.ranks_count_together:
            # One rank alone, e.g. in a debugger, would wait for the others.
            kept = f"sharded, {self.num_weights:,} weights"
        else:
            kept = f"{self.num_kept:,} of {self.num_weights:,} weights kept ({self.density:.2%})"
        info = [f"{key}={value!r}" for key, value in self._facts.info.items()]
        return f"Masks({', '.join([parameters, kept, *info])})"

    def _repr_html_(self) -> str:
        if self._masks.ranks_count_together:
            return html_text(repr(self))
        return html_text(repr(self)) + self.summary()._repr_html_()

    @property
    def contents(self) -> PackedMasks | UnpackedMasks:
        """The masks as they are held; packed ones are unpacked anew at each access."""
        return self._masks

    @property
    def facts(self) -> Facts:
        """All that is known beside the masks, as it is held."""
        return self._facts

    @property
    def unit_masks(self) -> Mapping[str, torch.Tensor]:
        """Name of a bias or normalisation parameter to bool tensor, false = the unit is dead."""
        return dict(self._unit_masks)

    @property
    def active_units(self) -> Mapping[str, tuple[int, int]]:
        """Name of a weight parameter to (units with a kept incoming weight, units)."""
        return dict(self._facts.active_units)

    @property
    def fan_ins(self) -> Mapping[str, tuple[FanIn, ...]]:
        """Name of a parameter to the weights that lead to each unit."""
        return dict(self._facts.fan_ins)

    @property
    def digests(self) -> Mapping[str, str]:
        """Name to a digest of the weights that its mask was made from; none if from no weights."""
        return dict(self._facts.digests)

    @property
    def info(self) -> Mapping[str, Scalar]:
        """How the masks were made, e.g. their method, density and seed."""
        return dict(self._facts.info)

    @property
    def num_walks(self) -> int | None:
        """Walks that were needed; None where the masks were not walked."""
        num_walks = self._facts.info.get("num_walks")
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

    def __and__(self, other: Masks) -> Masks:
        """The masks of what both keep, of the same parameters, without unit masks.

        Their `info` has the digests of what both were made from, if that is the same.
        """
        return self._with(other, torch.bitwise_and)

    def __or__(self, other: Masks) -> Masks:
        """The masks of what either keeps (see `&`)."""
        return self._with(other, torch.bitwise_or)

    def _with(self, other: Masks, combine: Combine) -> Masks:
        if not isinstance(other, Masks):
            return NotImplemented
        masks = Masks(combined(self._masks, other._masks, combine))
        return masks._knowing(self._facts.and_those(other._facts))

    def _knowing(self, facts: Facts) -> Masks:
        self._facts = facts  # They have been checked.
        return self

    def to(self, device: torch.device | str) -> Masks:
        """Return the masks on a device, unpacked; those that are there are not copied."""
        masks = Masks(self._masks.to(device), unit_masks=self._unit_masks.to(device))
        return masks._knowing(self._facts)

    @classmethod
    def of(cls, model: nn.Module) -> Masks:
        """Return the masks that a model is under (see `phew.is_pruned`).

        Args:
            model: The model, or a part of it.

        Returns:
            The masks of its weights and, where these are held, of its units, which are those of
            parameters of one dimension. How they were made is not known.

        Raises:
            ValueError: If there are none.

        Example:
            >>> import torch, phew
            >>> model = torch.nn.Linear(3, 2)
            >>> masks = phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)})
            >>> masks.apply(model)
            >>> phew.Masks.of(model) == masks
            True
        """
        held = dict(held_masks(as_module(model)))
        if not held:
            raise ValueError("model must be pruned, got one without masks. Apply some first.")
        return cls(
            {name: mask for name, mask in held.items() if mask.dim() > 1},
            unit_masks={name: mask for name, mask in held.items() if mask.dim() <= 1},
        )

    def check(self, model: nn.Module) -> dict[str, int]:
        """Count the pruned weights of a model that are not zero.

        Args:
            model: The model that the masks were made from, dense or sparse.

        Returns:
            Their number by the name of the parameter; empty if all are zero.

        Raises:
            ValueError: If the masks do not fit the model.

        Example:
            >>> import torch, phew
            >>> model = torch.nn.Linear(3, 2)
            >>> phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)}).check(model)
            {'weight': 4}
        """
        return count_not_zero(self._masks, as_module(model))

    def apply(
        self, model: nn.Module, *, unit_masks: bool = False, rescale: Rescale = "none"
    ) -> None:
        """Zero the pruned weights of `model`, in place, and hold them at zero.

        They stay zero through training with any `torch.optim.Optimizer`, `load_state_dict`,
        `copy.deepcopy`, pickling, `torch.compile`, DistributedDataParallel, FSDP2 and tensor
        parallelism, and have no gradient. The keys of `state_dict()` stay as they are. Masks
        applied before are released first (see `phew.release`, also for pickles that are read
        without phew). Each rank takes its part of the mask of a sharded parameter.

        Masks belong to names. What is put in the place of a held parameter or module is held from
        the next step of an optimizer that trains the model, or from the next `load_state_dict`: by
        sharding, a conversion, weight or spectral normalisation, `torch.nn.utils.prune`, a wrapper,
        a loader or an assignment. A UserWarning names, once, what cannot take the mask of its name:
        a parameter of another shape or type, one that is gone, one that is computed.

        A `phew.OtherWeightsWarning` says that the masks were made from other weights than the model
        has. A model that was trained under the masks has zeros where they prune, and is not warned
        of: to resume, load its state before. To apply masks to others on purpose, filter it.

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
            rescale: By what each unit's kept weights are multiplied, once. "none"; "variance", so
                that they have the norm that all its weights had; "auto", the same, but only where
                the size of the unit matters to what follows: not in front of a normalisation, and
                not in the last layer; "fan_in", by the square root of weights / kept weights.
                Masks that are applied again to what they have pruned change nothing but with
                "fan_in".

        Raises:
            ValueError: If the masks do not fit the model, a parameter cannot be held, or `rescale`
                is no such way, or the masks were not sampled from a graph, so that they do not know
                the units. The model is unchanged then, and whatever else is raised.

        Example:
            >>> import torch, phew
            >>> model = torch.nn.Linear(3, 2)
            >>> phew.Masks({"weight": torch.zeros(2, 3, dtype=torch.bool)}).apply(model)
            >>> model(torch.ones(3)).equal(model.bias)
            True
        """
        model = as_module(model)
        reshard(model)
        masks: Mapping[str, torch.Tensor] = self._masks
        if unit_masks:
            # A dict would hold all packed masks unpacked at once.
            masks = ChainMap(self._unit_masks, self._masks)  # type: ignore[arg-type]
        parameters = dict(model.named_parameters(remove_duplicate=False))
        check_fit(masks, parameters)
        factors = factors_of(parameters, self._masks, self._facts.fan_ins, rescale)
        warn_of_other_weights(self._masks, self._facts.digests, parameters)
        hold(model, masks)
        multiply(factors)

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
        return summary_of(self._masks, self._facts.active_units)

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
        write_mask_file(path, MaskFile(self.pack(), unit_masks, self._facts))

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
        """
        content = read_mask_file(path)
        return cls(content.masks, unit_masks=content.unit_masks)._knowing(content.facts)


# Files of masks that torch.save wrote hold nothing that runs, so torch.load may read them.
torch.serialization.add_safe_globals([Masks, PackedMasks, UnpackedMasks, Facts, FanIn])
