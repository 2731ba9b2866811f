"""Masks of a model of which a part is sparse: held on the dense weights, let go on the others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from phew.masks.hold import hook_all
from phew.masks.module_hold import ModuleHold, module_holds_on
from phew.masks.parameter_hold import ParameterHold, release_parameter


def hold_beside(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Hold masks on a model's parameters, beside those that are held on others.

    Args:
        model: The model.
        masks: Masks that fit it (see `phew.masks.fit.check_fit`).
    """
    if not masks:
        return
    parameters = dict(model.named_parameters(remove_duplicate=False))
    new = hook_all(parameters, masks)
    for parameter, parameter_hold in new.items():
        release_parameter(parameter, kept={parameter_hold})
        parameter_hold.take(parameter)
    held = _held_in(model)
    held |= {name: new[parameter] for name, parameter in parameters.items() if parameter in new}
    ModuleHold.over(model, "", held, {}).install()


def _held_in(model: nn.Module) -> dict[str, ParameterHold]:
    """Return the holds of a model's parameters by their names."""
    return {
        f"{path}.{name}".removeprefix("."): parameter_hold
        for path, module in model.named_modules(remove_duplicate=False)
        for _, module_hold in module_holds_on(module)
        for name, parameter_hold in module_hold.held.items()
        if not parameter_hold.is_released
    }


def let_go(layers: Mapping[nn.Module, nn.Parameter]) -> None:
    """Give up the masks that are held on the weights that layers had.

    Args:
        layers: Layers that have changed, and the weights that they had before.
    """
    for layer, weight in layers.items():
        release_parameter(weight)
        for _, module_hold in module_holds_on(layer):
            # Another thread may be reading the dictionary, so it is replaced.
            held = module_hold.held.items()
            module_hold.held = {name: own for name, own in held if name != "weight"}
