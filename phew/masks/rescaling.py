"""Rescale kept weights, so that units keep the size that they had before others were pruned.

A unit that keeps a tenth of its weights puts out less, and after some layers next to nothing is
left. Each unit's kept weights are multiplied by one factor. With the weights 3 4 0 1, of which 3
and 4 are kept, and independent inputs of variance 1, the unit's variance falls from 26 to 25:

    "variance"  sqrt(26 / 25), which brings the variance back
    "fan_in"    sqrt(4 / 2), by the number of weights; right where these are kept at random
                (Evci et al., Gradient flow in sparse neural networks, AAAI 2022)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from phew.distributed.sharding import placed_like, whole
from phew.graph.fan_in import FanIn

Rescale: TypeAlias = Literal["none", "auto", "variance", "fan_in"]
"""How kept weights are rescaled: "auto" as "variance", but only where the size of units matters."""


def check_rescale(rescale: object) -> None:
    """Raise ValueError unless it is a way of rescaling."""
    if rescale not in get_args(Rescale):
        ways = ", ".join(map(repr, get_args(Rescale)))
        raise ValueError(f"rescale must be one of {ways}, got {rescale!r}.")


def scales_of(
    parameters: Mapping[str, nn.Parameter],
    masks: Mapping[str, torch.Tensor],
    fan_ins: Mapping[str, Sequence[FanIn]],
    rescale: Rescale,
) -> dict[str, torch.Tensor]:
    """Return what kept weights are to be multiplied by.

    Args:
        parameters: The parameters, dense, by name.
        masks: Their masks.
        fan_ins: The fan-ins of the masked parameters. If they are sharded, all ranks make the call.
        rescale: How.

    Returns:
        By name of the parameters that change, a factor for each element.

    Raises:
        ValueError: If there is no such way, nothing is known of a parameter's fan-ins, or its
            weights are not finite.
    """
    check_rescale(rescale)
    scales: dict[str, torch.Tensor] = {}
    if rescale == "none":
        return scales
    seen: set[nn.Parameter] = set()
    for name in masks:
        parameter = parameters[name]
        if parameter in seen:
            continue
        seen.add(parameter)
        if name not in fan_ins:
            raise ValueError(
                f"rescale must be 'none' for masks that do not say which weights lead to one unit, "
                f"got {rescale!r} for {name!r}. Sample the masks with this version of phew."
            )
        wanted = [each for each in fan_ins[name] if rescale != "auto" or each.size_matters]
        if wanted:
            scale = scale_of(whole(parameter.detach()), whole(masks[name]), wanted, rescale)
            if not scale.isfinite().all():
                raise ValueError(f"{name!r} must be finite to be rescaled, got infinity or NaN.")
            scales[name] = placed_like(scale, parameter)
    return scales


def scale_of(
    weight: torch.Tensor, mask: torch.Tensor, fan_ins: Sequence[FanIn], rescale: Rescale
) -> torch.Tensor:
    """Return the factor of each element of a weight."""
    scale = torch.ones(weight.shape, dtype=weight.dtype, device=weight.device)
    mask = mask.to(weight.device)
    for fan_in in fan_ins:
        kept = fan_in.view(mask)
        weights = fan_in.view(torch.ones_like(weight) if rescale == "fan_in" else weight)
        before, after = _norms(weights), _norms(weights * kept)
        # A unit that keeps nothing, or nothing but zeros, has nothing to be rescaled.
        factors = (before / after).masked_fill(after == 0, 1)
        fan_in.view(scale).copy_(factors.expand(fan_in.shape))
    return scale


def _norms(weights: torch.Tensor) -> torch.Tensor:
    """Return the norms of the weights that lead to each unit, shape (groups, targets, 1, 1)."""
    dtype = torch.promote_types(weights.dtype, torch.float32)
    norms: torch.Tensor = torch.linalg.vector_norm(weights, dim=(2, 3), keepdim=True, dtype=dtype)
    return norms


@torch.no_grad()
def multiply(parameters: Mapping[str, nn.Parameter], scales: Mapping[str, torch.Tensor]) -> None:
    """Multiply parameters by factors, in place."""
    for name, scale in scales.items():
        parameters[name].mul_(scale)
