"""Hold the pruned entries of one parameter at zero, in its gradient and after steps."""

from __future__ import annotations

from collections.abc import Container, MutableMapping
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch.utils.hooks import unserializable_hook

from phew.distributed.sharding import is_sharded, own_part, placed_like


@unserializable_hook  # pickled with its module instead
class ParameterHold:
    """The pruned entries of one parameter, and its gradient hook.

    It does not refer to the parameter: a hook that did would keep the parameter in memory, and a
    weak reference would forbid `torch.utils.swap_tensors`, by which FSDP2 converts parameters. It
    knows the parameter by the `__dict__` of its attributes, which no other parameter has, and which
    `swap_tensors` swaps with the contents. (The hooks go with the contents too, so a parameter
    that was swapped is held no longer.)

    Attributes:
        pruned: Bool tensor of the parameter's shape, sharded as the parameter is; true = pruned.
        is_released: Whether the caller let go of the mask.
    """

    def __init__(self, pruned: torch.Tensor) -> None:
        self.pruned = pruned
        self.is_released = False
        self._attributes: dict[str, Any] = {}

    @classmethod
    def of_mask(cls, mask: torch.Tensor, parameter: nn.Parameter) -> ParameterHold:
        """Make the hold of a mask, true = kept, for a parameter of its shape."""
        pruned = _placed(mask, parameter)
        own_part(pruned).logical_not_()
        return cls(pruned)

    @classmethod
    def on(cls, parameter: torch.Tensor) -> ParameterHold | None:
        """Return the hold that a parameter is in, if any."""
        hold = _holds.get(id(parameter.__dict__))
        return hold if hold is not None and hold.has(parameter) else None

    def has(self, parameter: object) -> bool:
        """Return whether this is what holds a parameter."""
        return getattr(parameter, "__dict__", None) is self._attributes

    def fits(self, parameter: nn.Parameter) -> bool:
        """Return whether a parameter, or this rank's part of it, can be given this hold's mask."""
        if self.pruned.shape != parameter.shape:
            return False
        return not is_sharded(self.pruned) or (
            is_sharded(parameter)
            and self.pruned.device_mesh == parameter.device_mesh
            and self.pruned.placements == parameter.placements
        )

    def for_other(self, parameter: nn.Parameter) -> ParameterHold:
        """Return a hold of the same mask for a parameter that it fits."""
        return ParameterHold(_placed(self.pruned, parameter))

    def hook(self, parameter: nn.Parameter) -> None:
        """Hook the parameter's gradient; `take` is to follow."""
        # A frozen parameter takes a hook only while it requires grad; the hook outlasts freezing.
        requires_grad = parameter.requires_grad
        parameter.requires_grad_()
        try:
            if is_sharded(parameter):
                # FSDP2 sets gradients itself, and then calls these hooks alone.
                parameter.register_post_accumulate_grad_hook(self.zero_grad)  # type: ignore[no-untyped-call]
            else:
                parameter.register_hook(self)
        finally:
            parameter.requires_grad_(requires_grad)

    def unhook(self, parameter: nn.Parameter) -> None:
        """Remove what `hook` added, if it did, and no longer hold the parameter."""
        self._forget()
        for kind, key, hold in _hooks_on(parameter):
            if hold is self:
                hooks = getattr(parameter, kind)
                del hooks[key]
                # torch.utils.swap_tensors leaves an old dictionary behind, which nothing calls.
                setattr(parameter, kind, hooks)

    @torch.no_grad()
    def take(self, parameter: nn.Parameter) -> None:
        """Hold a parameter that was hooked, in place of any other hold."""
        for _, _, hold in _hooks_on(parameter):
            if hold is not self:
                hold.unhook(parameter)
        self._attributes = parameter.__dict__
        _holds[id(self._attributes)] = self
        self.zero(parameter)

    def __call__(self, grad: torch.Tensor) -> torch.Tensor:
        """Return the gradient of what is kept."""
        if grad.layout is not torch.strided:  # a sparse gradient: left to the step hook
            return grad
        pruned = self._pruned_like(grad)
        return grad if pruned is None else grad.masked_fill(pruned, 0)

    def zero(self, parameter: torch.Tensor) -> None:
        """Zero the pruned entries of a parameter or its gradient; to be called without grad."""
        own = own_part(parameter)
        pruned = self._pruned_like(own)
        if pruned is not None:
            # Filling, unlike multiplying, also makes zeros of infinite weights.
            own.masked_fill_(pruned, 0)

    @torch.no_grad()
    def zero_grad(self, parameter: torch.Tensor) -> None:
        """Zero the pruned entries of the parameter's gradient, if it has one."""
        if parameter.grad is not None and parameter.grad.layout is torch.strided:
            self.zero(parameter.grad)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_attributes": {}}

    def _forget(self) -> None:
        if _holds.get(id(self._attributes)) is self:
            del _holds[id(self._attributes)]
        self._attributes = {}

    def _pruned_like(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return this rank's pruned entries on a tensor's device, or None if they do not fit."""
        if tensor.is_meta:
            return None
        self.pruned = self.pruned.to(tensor.device)
        pruned = own_part(self.pruned)
        if pruned.shape != tensor.shape:
            # The parameter was resized in place: the next step looks at it anew.
            self._forget()
            return None
        return pruned


_holds: MutableMapping[int, ParameterHold] = WeakValueDictionary()
"""Maps the id of a parameter's `__dict__`, which the hold keeps alive, to the hold."""


def release_parameter(parameter: nn.Parameter, kept: Container[ParameterHold] = ()) -> None:
    """Release a parameter from all holds but those that are kept."""
    for _, _, hold in _hooks_on(parameter):
        if hold not in kept:
            hold.is_released = True
            hold.unhook(parameter)


def _hooks_on(parameter: nn.Parameter) -> list[tuple[str, int, ParameterHold]]:
    """Return the hooks of holds: the attribute that has them, the key in it, and the hold."""
    return [
        (kind, key, hold)
        for kind in ("_backward_hooks", "_post_accumulate_grad_hooks")
        for key, hook in (getattr(parameter, kind) or {}).items()
        if isinstance(hold := getattr(hook, "__self__", hook), ParameterHold)
    ]


def _placed(flags: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """Return a copy on a parameter's device, in its memory order and sharded as it is."""
    placed = torch.empty_like(parameter, dtype=torch.bool, requires_grad=False)
    own_part(placed).copy_(own_part(placed_like(flags, parameter)))
    return placed
