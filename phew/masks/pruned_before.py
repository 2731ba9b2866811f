"""The warning that a model is pruned anew whose weights were pruned before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from phew.graph.digests import grid_of
from phew.support.warn import PhewWarning, warn_caller

_MANY_ZEROS = 0.4
"""The share of zeros from which weights were pruned. Layers that begin at zero, the last ones of
residual blocks, are fewer."""


class PrunedBeforeWarning(PhewWarning):
    """Warns that a model is pruned of which many weights are zero already, under no masks.

    Such weights were most likely pruned before, and trained since. Walks follow the trained
    weights, so the new masks are others than those of the run, and they may be rescaled.
    """


def warn_if_pruned_before(names: Iterable[str], parameters: Mapping[str, torch.Tensor]) -> None:
    """Warn if many weights of some parameters are zero, as far as a grid of values shows.

    Args:
        names: The parameters that are to be pruned.
        parameters: The parameters by name; those that are sharded are not looked at.
    """
    num_weights = num_zeros = 0.0
    for name in names:
        parameter = parameters[name].detach()
        if type(parameter) is torch.Tensor and parameter.numel():
            num_weights += parameter.numel()
            is_zero = parameter[grid_of(parameter.shape)] == 0
            num_zeros += float(is_zero.double().mean()) * parameter.numel()
    if num_weights and num_zeros >= _MANY_ZEROS * num_weights:
        warn_caller(
            f"{num_zeros / num_weights:.0%} of the model's weights are zero, as if it was pruned "
            "before, and it is pruned anew. To go on with a run, apply the run's masks to the "
            "weights that it saved: phew.Masks.load(...).apply(model). To prune such weights on "
            "purpose, filter phew.PrunedBeforeWarning.",
            PrunedBeforeWarning,
        )
