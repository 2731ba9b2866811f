"""The warning that masks meet other weights than those that they were made from.

Where both differ, the model may still be one that was trained under the masks, which has zeros
where they prune. Weights that were drawn anew, or trained without masks, have none there:

    made from   3  -4  1  2     the masks keep 3 and -4
    trained     5  -2  0  0     zeros where they prune: trained under them
    other       1   2  4 -3     none
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from phew.graph.digests import digests_of_values, grid_of
from phew.support.warn import PhewWarning, listed, warn_caller

_FEW_ZEROS = 0.1
"""The share of zeros among pruned weights below which a model was not trained under the masks, or
others that keep more. Weights drawn at random have a zero now and then, of 16 bits up to 1 %."""


class OtherWeightsWarning(PhewWarning):
    """Warns that masks are applied to other weights than those that they were made from.

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
    others = [
        name
        for name, digest in digests_of_values(known).items()
        if digest != digests[name] and _type_of(digest) == _type_of(digests[name])
    ]
    num_pruned = num_zeros = 0
    for name in others:
        grid = grid_of(parameters[name].shape)
        pruned = ~masks[name][grid].cpu()
        num_pruned += int(pruned.sum())
        num_zeros += int((pruned & (parameters[name].detach()[grid].cpu() == 0)).sum())
    if num_zeros < _FEW_ZEROS * num_pruned:
        warn_caller(
            "Masks must meet the weights that they were made from, got other weights in "
            f"{listed(map(repr, others))}. Before the masks are applied, load those weights (or "
            "draw them with the same seed), or the state of a model that was trained under the "
            "masks. To apply masks to other weights on purpose, filter phew.OtherWeightsWarning.",
            OtherWeightsWarning,
        )


def _type_of(digest: str) -> str:
    """Return the type that a digest is of: rounded weights are no other weights."""
    return digest.partition(" ")[0]
