"""Hold the pruned entries of one parameter at zero, in its gradient and after steps."""

from __future__ import annotations

from collections.abc import Container, MutableMapping
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn
from torch.utils.hooks import unserializable_hook

from phew.distributed.sharding import is_sharded, own_part
from phew.masks.pruned_entries import PrunedEntries, pruned_entries
from phew.masks.references import references_to, unshared_references


@unserializable_hook  # pickled with its module instead
class ParameterHold:
    """The pruned entries of one parameter, and its gradient hook.

    It does not refer to the parameter: a hook that did would keep the parameter in memory, and a
    weak reference would forbid `torch.utils.swap_tensors`, by which FSDP2 converts parameters. It
    knows the parameter by the `__dict__` of its attributes, which no other parameter has, and which
    `swap_tensors` swaps with the contents. (The hooks go with the contents too, so a parameter
    that was swapped is held no longer.)

    Attributes:
        pruned: The pruned entries, sharded as the parameter is.
        is_released: Whether the caller let go of the mask.
    """

    def __init__(self, pruned: PrunedEntries) -> None:
        self.pruned = pruned
        self.is_released = False
        self._attributes: dict[str, Any] = {}

    @classmethod
    def of_mask(cls, mask: torch.Tensor, parameter: nn.Parameter) -> ParameterHold:
        """Make the hold of a mask, true = kept, for a parameter of its shape."""
        return cls(pruned_entries(mask, parameter))

    @classmethod
    def on(cls, parameter: torch.Tensor) -> ParameterHold | None:
        """Return the hold that a parameter is in, if any."""
        hold = _holds.get(id(parameter.__dict__))
        return hold if hold is not None and hold.has(parameter) else None

    def has(self, parameter: object) -> bool:
        """Return whether this is what holds a parameter."""
        return getattr(parameter, "__dict__", None) is self._attributes

    def for_other(self, parameter: nn.Parameter) -> ParameterHold:
        """Return a hold of the same mask for a parameter that it fits."""
        return ParameterHold.of_mask(self.pruned.mask(), parameter)

    def hook(self, parameter: nn.Parameter) -> None:
        """Hook the parameter's gradient; `take` is to follow."""
        # A frozen parameter takes a hook only while it requires grad; the hook outlasts freezing.
        requires_grad = parameter.requires_grad
        parameter.requires_grad_()
        try:
            if is_sharded(parameter):
                # FSDP2 sets gradients itself, and then calls these hooks alone.
                handle = parameter.register_post_accumulate_grad_hook(self.zero_grad)  # type: ignore[no-untyped-call]
                # It goes before those of users, who may step an optimizer there.
                hooks: Any = parameter._post_accumulate_grad_hooks
                hooks.move_to_end(handle.id, last=False)
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
        """Hold a parameter that was hooked, and its gradient, in place of any other hold."""
        for _, _, hold in _hooks_on(parameter):
            if hold is not self:
                hold.unhook(parameter)
        self._attributes = parameter.__dict__
        _holds[id(self._attributes)] = self
        self.zero(parameter)
        self.zero_grad(parameter)

    def __call__(self, grad: torch.Tensor) -> torch.Tensor:
        """Return the gradient of what is kept.

        Autograd may hand the same memory to several parameters, and hooks may keep it. So it is
        changed in place only if it is certain that all references to it are those of this call,
        and copied otherwise, as under `torch.autograd.grad`. A copy takes two to three times as
        long. A hook that runs later, when the gradient is the parameter's own, would be called
        neither by `torch.autograd.grad` nor before all that users may call there.
        """
        is_unshared = (
            not torch.compiler.is_compiling() and references_to(grad) in unshared_references()
        )
        if grad.layout is not torch.strided:  # a sparse gradient: left to the step hook
            return grad
        pruned = self._pruned_like(grad)
        if pruned is None:
            return grad
        return pruned.zeroed(grad, is_unshared)

    def zero(self, parameter: torch.Tensor) -> None:
        """Zero the pruned entries of a parameter or its gradient; to be called without grad."""
        own = own_part(parameter)
        pruned = self._pruned_like(own)
        if pruned is not None:
            pruned.zero(own)

    @torch.no_grad()
    def zero_grad(self, parameter: torch.Tensor) -> None:
        """Zero the pruned entries of the parameter's gradient, if it has one."""
        # The parameters of a ScriptModule that was copied are no leaves, and have no gradient.
        grad = parameter.grad if parameter.is_leaf else None
        if grad is not None and grad.layout is torch.strided:
            self.zero(grad)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_attributes": {}}

    def _forget(self) -> None:
        if _holds.get(id(self._attributes)) is self:
            del _holds[id(self._attributes)]
        self._attributes = {}

    def _pruned_like(self, tensor: torch.Tensor) -> PrunedEntries | None:
        """Return the pruned entries on a tensor's device, or None if they do not fit."""
        if tensor.is_meta:
            return None
        if self.pruned.own_shape != tensor.shape:
            # The parameter was resized in place: the next step looks at it anew.
            self._forget()
            return None
        self.pruned = self.pruned.at(tensor)
        return self.pruned


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
