"""The parameter that stands at a name in a module, and why it cannot take the name's mask."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm
from torch.nn.utils.parametrize import is_parametrized

from phew.masks.fit import obstacle_of
from phew.masks.parameter_hold import ParameterHold

GONE = "it is gone"
"""Why a mask is lost of which nothing stands at the name."""


def parameter_of(module: nn.Module, name: str) -> Any:
    """Return what stands at the name of a parameter in a module, or None."""
    parameters = module._parameters
    if isinstance(parameters, dict):
        parameter = parameters.get(name)
        return _factor_of(module, name) if parameter is None else parameter
    # The dictionaries of ScriptModules have no get.
    *path, local = name.split(".")
    current: Any = module
    try:
        for part in path:
            current = current._modules[part]
        return current._parameters[local]
    except KeyError:
        return None


def _factor_of(module: nn.Module, name: str) -> nn.Parameter | None:
    """Return the parameter whose zeros are those of a weight that is computed from it, or None.

    These are the directions of weight normalisation, and what spectral normalisation and
    `torch.nn.utils.prune` multiply.
    """
    for suffix in ("_v", "_orig"):
        if (factor := module._parameters.get(name + suffix)) is not None:
            return factor
    steps = _parametrizations_of(module, name)
    if steps is None or not all(isinstance(step, (_SpectralNorm, _WeightNorm)) for step in steps):
        return None
    factor = steps._parameters.get("original1", steps._parameters.get("original"))
    return factor if isinstance(factor, nn.Parameter) else None


def _parametrizations_of(module: Any, name: str) -> Any:
    """Return the ParametrizationList of a name, or None."""
    return module.parametrizations[name] if is_parametrized(module, name) else None


def why_lost(
    module: nn.Module, name: str, parameter: nn.Parameter | None, held: ParameterHold
) -> str | None:
    """Say why a parameter, or the lack of one, cannot be held by the mask of its name."""
    if parameter is None:
        steps = _parametrizations_of(module, name)
        if steps is None:
            return GONE
        return f"it is computed by {', '.join(type(step).__name__ for step in steps)} now"
    if parameter.shape != held.pruned.shape:
        return f"its shape is {tuple(parameter.shape)}, that of its mask {tuple(held.pruned.shape)}"
    if not held.pruned.fits(parameter):
        return "it is sharded in another way than its mask"
    obstacle = obstacle_of(parameter)
    return None if obstacle is None else f"it must {obstacle}".removesuffix(".")
