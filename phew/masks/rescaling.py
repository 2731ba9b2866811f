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

Factors: TypeAlias = Sequence[tuple[FanIn, torch.Tensor]]
"""The weights of a parameter are multiplied by these: for some fan-ins, a factor for each unit, of
shape (groups, targets, 1, 1)."""


def check_rescale(rescale: object) -> None:
    """Raise ValueError unless it is a way of rescaling."""
    if rescale not in get_args(Rescale):
        ways = ", ".join(map(repr, get_args(Rescale)))
        raise ValueError(f"rescale must be one of {ways}, got {rescale!r}.")


def factors_of(
    parameters: Mapping[str, nn.Parameter],
    masks: Mapping[str, torch.Tensor],
    fan_ins: Mapping[str, Sequence[FanIn]],
    rescale: Rescale,
) -> dict[nn.Parameter, Factors]:
    """Return what kept weights are to be multiplied by.

    Args:
        parameters: The parameters, dense, by all of their names.
        masks: The masks, by one of these. If parameters are sharded, all ranks make the call.
        fan_ins: The fan-ins of the masked parameters, by one of their names.
        rescale: How.

    Returns:
        The factors of the parameters that change.

    Raises:
        ValueError: If there is no such way, nothing is known of a parameter's fan-ins, or its
            weights are not finite.
    """
    check_rescale(rescale)
    factors: dict[nn.Parameter, Factors] = {}
    if rescale == "none":
        return factors
    known = {parameters[name]: each for name, each in fan_ins.items() if name in parameters}
    for name in masks:
        parameter = parameters[name]
        if parameter in factors:
            continue
        if parameter not in known:
            raise ValueError(
                f"rescale must be 'none' for masks that do not say which weights lead to one unit, "
                f"got {rescale!r} for {name!r}. Sample the masks with this version of phew."
            )
        wanted = [each for each in known[parameter] if rescale != "auto" or each.size_matters]
        if wanted:
            weight, mask = whole(parameter.detach()), whole(masks[name])
            mask = mask.to(weight.device)
            own = [(fan_in, _factors(fan_in, weight, mask, rescale)) for fan_in in wanted]
            if not all(each.isfinite().all() for _, each in own):
                raise ValueError(f"{name!r} must be finite to be rescaled, got infinity or NaN.")
            factors[parameter] = own
    return factors


def _factors(
    fan_in: FanIn, weight: torch.Tensor, mask: torch.Tensor, rescale: Rescale
) -> torch.Tensor:
    kept = fan_in.view(mask)
    weights = fan_in.view(torch.ones_like(weight) if rescale == "fan_in" else weight)
    before, after = _norms(weights), _norms(weights * kept)
    # A unit that keeps nothing, or nothing but zeros, has nothing to be rescaled.
    return (before / after).masked_fill((after == 0) & before.isfinite(), 1)


def _norms(weights: torch.Tensor) -> torch.Tensor:
    """Return the norms of the weights that lead to each unit, shape (groups, targets, 1, 1)."""
    # Squares of large float32 overflow. Apple's GPUs have no float64.
    precise = torch.float32 if weights.device.type == "mps" else torch.float64
    dtype = torch.promote_types(weights.dtype, precise)
    norms: torch.Tensor = torch.linalg.vector_norm(weights, dim=(2, 3), keepdim=True, dtype=dtype)
    return norms


def scale_of(parameter: torch.Tensor, factors: Factors) -> torch.Tensor:
    """Return a factor for each element of a parameter, placed as the parameter is."""
    # The factors of 16-bit weights have more digits than these.
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    scale = torch.ones(parameter.shape, dtype=dtype, device=parameter.device)
    for fan_in, each in factors:
        fan_in.view(scale).copy_(each.expand(fan_in.shape))
    return placed_like(scale, parameter)


@torch.no_grad()
def multiply(factors: Mapping[nn.Parameter, Factors]) -> None:
    """Multiply the weights of parameters by their factors, in place."""
    for parameter, each in factors.items():
        parameter.mul_(scale_of(parameter, each))
