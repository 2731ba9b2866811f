"""The warning that masks meet other weights than those that they were made from.

Where both differ, the model may still be one that was trained under the masks, which has zeros
where they prune. Weights that were drawn anew, or trained without masks, have none there:

    made from   3  -4  1  2     the masks keep 3 and -4
    trained     5  -2  0  0     zeros where they prune: trained under them
    other       1   2  4 -3     none

Each parameter is judged by itself, as a trained model may have a new head. Zeros say nothing of a
parameter that is kept whole, and little of one that is kept nearly whole: it may have been trained
under masks that kept all of it. Such a parameter is named only if the changed parameters together
have no zeros either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from phew.graph.digests import digests_of_values, grid_of
from phew.support.warn import PhewWarning, listed, warn_caller

_FEW_ZEROS = 0.02
"""The share of zeros among pruned weights below which they were not trained under masks. It is 1
where they were trained under the same masks, and less where those masks kept more. Random weights
of 16 bits may be zero too, up to 1 % of them."""

_FEW_PRUNED = 0.1
"""The share of pruned weights below which a parameter is kept nearly whole."""


class OtherWeightsWarning(PhewWarning):
    """Warns that masks are applied to other weights than those that they were made from.

    Up to 1,024 values of each parameter are compared (`phew.graph.digests.grid_of`), bit for bit,
    where both are of one type; parameters of another type than the masks were made from are not
    compared. So weights that were rounded in between, as by `model.half().float()`, are other
    weights. Weights that differ but have zeros where the masks prune were trained under them.

    Where that is meant, as in experiments that draw weights anew, filter it:
    `warnings.filterwarnings("ignore", category=phew.OtherWeightsWarning)`.
    """


def warn_of_other_weights(
    masks: Mapping[str, torch.Tensor],
    digests: Mapping[str, str],
    parameters: Mapping[str, torch.Tensor],
) -> None:
    """Warn if a model's weights are not those that masks were made from, nor trained under them.

    Args:
        masks: The masks, of a model's parameters.
        digests: Digests of the weights that they were made from, as far as these are known.
        parameters: The parameters by name, before pruned weights are zeroed.
    """
    known = {name: parameters[name] for name in digests}
    changed = {
        name: _seen(masks[name], parameters[name])
        for name, digest in digests_of_values(known).items()
        if digest != digests[name] and _type_of(digest) == _type_of(digests[name])
    }
    others = [*changed]
    if not _lacks_zeros(*changed.values()):
        others = [
            name
            for name, seen in changed.items()
            if seen.num_pruned >= _FEW_PRUNED * seen.num_values and _lacks_zeros(seen)
        ]
    if others:
        warn_caller(
            "Masks were made from other weights than the model has, in "
            f"{listed(map(repr, others))}. Before the masks are applied, load those weights (or "
            "draw them with the same seed), or the state of a model that was trained under the "
            "masks. To apply masks to other weights on purpose, filter phew.OtherWeightsWarning.",
            OtherWeightsWarning,
        )


class _Seen(NamedTuple):
    """How many values of a parameter were looked at, are pruned, and are pruned and zero."""

    num_values: int
    num_pruned: int
    num_zeros: int


def _seen(mask: torch.Tensor, parameter: torch.Tensor) -> _Seen:
    grid = grid_of(parameter.shape)
    pruned = ~mask[grid].cpu()
    zeros = pruned & (parameter.detach()[grid].cpu() == 0)
    return _Seen(pruned.numel(), int(pruned.sum()), int(zeros.sum()))


def _lacks_zeros(*seen: _Seen) -> bool:
    """Return whether parameters, taken together, have too few zeros to be trained under masks."""
    num_pruned = sum(each.num_pruned for each in seen)
    return sum(each.num_zeros for each in seen) < _FEW_ZEROS * num_pruned


def _type_of(digest: str) -> str:
    """Return the type that a digest is of: rounded weights are no other weights."""
    return digest.partition(" ")[0]
