"""Whether a gradient that a hook gets is referred to by anything but the call of the hook."""

from __future__ import annotations

import functools
import sys
from typing import NamedTuple

import torch


class References(NamedTuple):
    """The numbers of references to a tensor, and to what has the same memory.

    Attributes:
        object: Those of Python to the tensor, also for the calls that lead here.
        tensor: Those of C++, such as autograd's, the Python object's among them.
        storage: Those to the memory, one for each tensor that is in it.
        base_object: As `object`, for the tensor of which this is a view; 0 if it is none.
        base: As `tensor`, for the same.
    """

    object: int
    tensor: int
    storage: int
    base_object: int
    base: int


_MOST_IF_UNSHARED = References(object=5, tensor=2, storage=3, base_object=3, base=2)
"""More are never taken to be unshared, e.g. those that a debugger made in the first call."""


def references_to(grad: torch.Tensor) -> References | None:
    """Count the references; to be called by the `__call__` of a gradient hook, on its argument.

    Returns:
        The numbers, or None for tensors without memory.
    """
    try:
        base = grad._base
        return References(
            sys.getrefcount(grad),
            grad._use_count(),  # type: ignore[attr-defined]
            torch._C._storage_Use_Count(grad.untyped_storage()._cdata),
            0 if base is None else sys.getrefcount(base),
            0 if base is None else base._use_count(),  # type: ignore[attr-defined]
        )
    except (AttributeError, RuntimeError):  # RuntimeError includes NotImplementedError
        return None


@functools.cache
def unshared_references() -> frozenset[References | None]:
    """Return the counts that mean that a gradient, or a view of one, has no other references.

    Versions of Python and torch hold different numbers of references while they call a hook. So
    the numbers are those of a gradient that is known not to be shared.
    """
    seen: list[References | None] = []

    class Probe:
        def __call__(self, grad: torch.Tensor) -> None:
            seen.append(references_to(grad))

    with torch.enable_grad():
        weight = torch.ones(2, 2, device="cpu", requires_grad=True)
        weight.register_hook(Probe())
        (weight * 2).sum().backward()
        (weight.t() * 2).sum().backward()
    return frozenset(
        counts
        for counts in seen
        if counts is not None
        and all(count <= most for count, most in zip(counts, _MOST_IF_UNSHARED, strict=True))
    )
