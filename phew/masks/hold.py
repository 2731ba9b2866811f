"""Hold the pruned weights of a model at zero, whatever trains, copies or loads it.

Three things hold a parameter:

- a tensor hook drops the gradient of its pruned entries, so gradient norms, clipping and
  momentum see only what is kept;
- a process-wide hook after every optimizer step zeroes them again, for weight decay, stale
  momentum and updates that mix entries;
- a `load_state_dict` post-hook of each module that owns it zeroes what was loaded. This hook
  is copied and pickled with the module, and then takes hold of the copied parameters.

No forward hook, parametrization or buffer: `state_dict()` keeps its keys and `torch.compile`
its whole graph.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle, unserializable_hook
from torch.utils.weak import WeakTensorKeyDictionary

from phew.distributed.sharding import equal, is_sharded, own_part

_SAME_MODEL = (
    "Apply masks to the model that they were made from, without the DistributedDataParallel or "
    "torch.compile around it."
)


def hold(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Zero what `masks` prune in `model` and hold it at zero, in place of any earlier hold.

    The mask of a sharded parameter covers only the part of it that this rank holds.
    """
    pruned = {model.get_parameter(name): mask.logical_not() for name, mask in masks.items()}
    release(model)
    for module in model.modules():
        own = module.named_parameters(recurse=False, remove_duplicate=False)
        held = {name: parameter for name, parameter in own if parameter in pruned}
        if held:
            module_hold = _ModuleHold(held, {name: pruned[p] for name, p in held.items()})
            module.register_load_state_dict_post_hook(module_hold)


def release(model: nn.Module) -> None:
    """Let go of the masks applied to a model: pruned weights are zero, but may be trained.

    Args:
        model: The model; without applied masks nothing happens.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Linear(3, 2)
        >>> phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)}).apply(model)
        >>> phew.release(model)
    """
    for parameter in model.parameters():
        _release_parameter(parameter)
    for module in model.modules():
        hooks = module._load_state_dict_post_hooks
        for key in [key for key, hook in hooks.items() if isinstance(hook, _ModuleHold)]:
            del hooks[key]


class _ModuleHold:
    """The hold of one module's own parameters, and its `load_state_dict` post-hook."""

    def __init__(
        self, parameters: dict[str, nn.Parameter], pruned: dict[str, torch.Tensor]
    ) -> None:
        self._parameters = parameters
        for name, entries in pruned.items():
            _hold_parameter(parameters[name], entries)

    def __call__(self, module: nn.Module, incompatible_keys: object) -> None:
        # Loading with assign=True puts another parameter in the place of the held one.
        own = dict(module.named_parameters(recurse=False, remove_duplicate=False))
        for name, pruned in self._pruned().items():
            if name in own:
                self._parameters[name] = own[name]
                _hold_parameter(own[name], pruned)

    def __reduce__(self) -> tuple[Any, ...]:
        # A hold that is copied or unpickled takes hold of the copies of the parameters.
        return _ModuleHold, (self._parameters, self._pruned())

    def _pruned(self) -> dict[str, torch.Tensor]:
        # A parameter tied to one of another model may have been released there.
        held = {name: p for name, p in self._parameters.items() if p in _holds}
        return {name: _holds[p].pruned for name, p in held.items()}


@unserializable_hook  # pickled with its module instead
class _ParameterHold:
    """The pruned entries of one parameter, and its gradient hook.

    It does not refer to the parameter: a hook that did would keep the parameter in memory.
    """

    handle: RemovableHandle

    def __init__(self, pruned: torch.Tensor) -> None:
        self.pruned = pruned

    def __call__(self, grad: torch.Tensor) -> torch.Tensor:
        if grad.layout is not torch.strided:  # a sparse gradient: left to the step hook
            return grad
        return grad.masked_fill(self._pruned_on(grad.device), 0)

    @torch.no_grad()
    def zero(self, parameter: torch.Tensor) -> None:
        # Filling, unlike multiplying, also makes zeros of infinite weights.
        own_part(parameter).masked_fill_(self._pruned_on(parameter.device), 0)

    def zero_grad(self, parameter: torch.Tensor) -> None:
        assert parameter.grad is not None
        self.zero(parameter.grad)

    def _pruned_on(self, device: torch.device) -> torch.Tensor:
        self.pruned = self.pruned.to(device)
        return self.pruned


_holds: MutableMapping[torch.Tensor, _ParameterHold] = WeakTensorKeyDictionary()


def _hold_parameter(parameter: nn.Parameter, pruned: torch.Tensor) -> None:
    _register_step_hook()
    _release_parameter(parameter)
    # The flags are on the parameter's device and in its memory order.
    entry = _ParameterHold(torch.empty_like(own_part(parameter), dtype=torch.bool).copy_(pruned))
    # A frozen parameter takes a hook only while it requires grad; the hook outlasts freezing.
    requires_grad = parameter.requires_grad
    parameter.requires_grad_()
    if is_sharded(parameter):
        # FSDP2 sets gradients itself, and then calls these hooks alone.
        entry.handle = parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
            entry.zero_grad
        )
    else:
        entry.handle = parameter.register_hook(entry)
    parameter.requires_grad_(requires_grad)
    _holds[parameter] = entry
    entry.zero(parameter)


def _release_parameter(parameter: nn.Parameter) -> None:
    entry = _holds.pop(parameter, None)
    if entry is not None:
        entry.handle.remove()


@functools.cache
def _register_step_hook() -> None:
    register_optimizer_step_post_hook(_zero_after_step)


def _zero_after_step(optimizer: Optimizer, args: object, kwargs: object) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            entry = _holds.get(parameter)
            if entry is not None:
                entry.zero(parameter)


def check_fit(masks: Mapping[str, torch.Tensor], parameters: dict[str, nn.Parameter]) -> None:
    """Refuse masks that cannot be held on a model's parameters, given by all of their names.

    Raises:
        ValueError: If a mask has no parameter, or one of another shape, or one that cannot be held.
    """
    first_name: dict[nn.Parameter, str] = {}
    for name, mask in masks.items():
        parameter = parameters.get(name)
        if parameter is None:
            raise ValueError(
                f"model must have all masked parameters, got none named {name!r}. {_SAME_MODEL}"
            )
        if parameter.shape != mask.shape:
            raise ValueError(
                f"{name!r} must have the shape of its mask, {tuple(mask.shape)}, "
                f"got {tuple(parameter.shape)}. {_SAME_MODEL}"
            )
        _check_can_be_held(name, parameter)
        first = first_name.setdefault(parameter, name)
        if first != name and not equal(mask, masks[first]):
            raise ValueError(
                f"masks must agree on tied parameters, got different ones for {first!r} and "
                f"{name!r}. Leave one out."
            )


def _check_can_be_held(name: str, parameter: nn.Parameter) -> None:
    """Raise ValueError unless zeros can be written to each weight, and training can follow."""
    if parameter.is_meta:
        raise ValueError(
            f"{name!r} must have data, got a parameter on the meta device. "
            "Call model.to_empty(device=...) and load its weights."
        )
    is_number = parameter.is_floating_point() or parameter.is_complex()
    if parameter.layout is not torch.strided or not is_number:
        raise ValueError(
            f"{name!r} must be dense and floating-point, got {parameter.layout}, "
            f"{parameter.dtype}. Apply the masks before the model is converted."
        )
    if parameter.is_inference():
        raise ValueError(
            f"{name!r} must be a normal tensor, got one made in inference mode. "
            "Build the model outside of torch.inference_mode()."
        )
    if any(
        size > 1 and stride == 0
        for size, stride in zip(parameter.shape, parameter.stride(), strict=True)
    ):
        raise ValueError(
            f"{name!r} must have memory for each of its weights, got an expanded tensor. "
            "Make it a parameter of its own with .clone()."
        )
