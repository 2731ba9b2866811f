"""The masks that a model is under: those held on its weights, and those of its sparse layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn

from phew.arguments import as_module
from phew.distributed.sharding import count_nonzero, placed_like
from phew.masks.fit import check_shape
from phew.masks.parameter_hold import ParameterHold


class MaskedWeight:
    """A module whose weight is sparse, and which knows the mask of the dense one."""

    def dense_mask(self) -> torch.Tensor:
        """Return the mask (bool) of the dense weight, on the CPU."""
        raise NotImplementedError


def is_pruned(model: nn.Module) -> bool:
    """Return whether a model is under masks: they are held on it, or it has sparse layers.

    Args:
        model: The model, or a part of it.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Linear(3, 2)
        >>> phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)}).apply(model)
        >>> phew.is_pruned(model)
        True
    """
    return next(_holders(as_module(model)), None) is not None


def held_masks(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the first name and the mask of each parameter of a model that is under one."""
    for name, holder in _holders(model):
        yield (
            name,
            holder.dense_mask() if isinstance(holder, MaskedWeight) else holder.pruned.mask(),
        )


def _holders(model: nn.Module) -> Iterator[tuple[str, MaskedWeight | ParameterHold]]:
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            hold = ParameterHold.on(parameter)
            if parameter in seen:
                continue
            seen.add(parameter)
            if isinstance(module, MaskedWeight) and name.rpartition(".")[2] == "weight":
                yield name, module
            elif hold is not None:
                yield name, hold


def count_not_zero(masks: Mapping[str, torch.Tensor], model: nn.Module) -> dict[str, int]:
    """Count the pruned weights of a model that are not zero, by the name of the parameter.

    Those of a sparse layer are the weights that it keeps and the masks do not.

    Raises:
        ValueError: If the masks do not fit the model.
    """
    weights: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    for name, mask in held_masks(model):
        if weights[name].shape != mask.shape:
            weights[name] = mask
    counts = {}
    for name, mask in masks.items():
        check_shape(name, mask.shape, weights)
        weight = weights[name].detach()
        if weight.is_meta:
            raise ValueError(f"{name!r} must have data to be checked, got a meta tensor.")
        counts[name] = count_nonzero((weight != 0) & ~placed_like(mask, weight))
    return {name: count for name, count in counts.items() if count}
