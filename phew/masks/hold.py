"""Hold the pruned weights of a model at zero, whatever trains, copies, loads or replaces them.

Three things hold a parameter:

- a tensor hook drops the gradient of its pruned entries, so gradient norms, clipping, momentum
  and steps inside a backward pass see only what is kept;
- a process-wide hook after every optimizer step zeroes them again, for weight decay, stale
  momentum and updates that mix entries;
- a `load_state_dict` post-hook of each module that owns it zeroes what was loaded. This hook
  is copied and pickled with the module, and then takes hold of the copied parameters.

Masks belong to names, not to objects. Before every optimizer step, and after a module is loaded,
what stands at a name in place of the held parameter is held in its stead. Where nothing there can
take the mask, a warning says so, and the mask is given up.

No forward hook, parametrization or buffer: `state_dict()` keeps its keys and `torch.compile`
its whole graph.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

from phew.arguments import as_module
from phew.distributed.sharding import reshard
from phew.masks.module_hold import ModuleHold, module_holds_on, register_step_hooks
from phew.masks.parameter_hold import ParameterHold, release_parameter


def hold(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Zero what `masks` prune in `model` and hold it at zero, in place of any earlier hold.

    If it raises, the model is as it was.

    Args:
        model: The model.
        masks: Masks that fit it (see `check_fit`).
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    holds = hook_all(parameters, masks)
    _let_go(model, kept=set(holds.values()))
    for parameter, new in holds.items():
        new.take(parameter)
    held = {name: holds[parameter] for name, parameter in parameters.items() if parameter in holds}
    ModuleHold.over(model, "", held, {}).install()


def hook_all(
    parameters: Mapping[str, nn.Parameter], masks: Mapping[str, torch.Tensor]
) -> dict[nn.Parameter, ParameterHold]:
    """Make and hook the hold of each masked parameter, or of none if it raises.

    Returns:
        The holds, each of which is to `take` its parameter.
    """
    holds: dict[nn.Parameter, ParameterHold] = {}
    for name, mask in masks.items():
        parameter = parameters[name]
        if parameter not in holds:
            holds[parameter] = ParameterHold.of_mask(mask, parameter)
    register_step_hooks()
    try:
        for parameter, new in holds.items():
            new.hook(parameter)
    except BaseException:
        for parameter, new in holds.items():
            new.unhook(parameter)
        raise
    return holds


def release(model: nn.Module) -> None:
    """Let go of the masks applied to a model: pruned weights are zero, but may be trained.

    What `torch.save(model)` and `pickle` write of a model that is held, and of copies of it, holds
    the masks, and can only be read where phew is installed. Release the model before, or save
    `model.state_dict()`, which has plain weights at all times. A sparse model has layers of
    phew: make it dense with `phew.to_dense` first.

    Args:
        model: The model; without applied masks nothing happens.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Linear(3, 2)
        >>> phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)}).apply(model)
        >>> phew.release(model)
    """
    model = as_module(model)
    reshard(model)
    _let_go(model)


def _let_go(model: nn.Module, kept: Collection[ParameterHold] = ()) -> None:
    for parameter in model.parameters():
        release_parameter(parameter, kept)
    for module in model.modules():
        for key, module_hold in module_holds_on(module):
            del module._load_state_dict_post_hooks[key]
            for parameter_hold in module_hold.held.values():
                parameter_hold.is_released = True
