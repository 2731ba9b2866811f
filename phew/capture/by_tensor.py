"""Facts about tensors, which are forgotten when the tensors are freed."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

Fact = TypeVar("Fact")


class ByTensor(Generic[Fact]):
    """A dictionary whose keys are tensors, told apart by identity, which it does not keep alive.

    Each operation is followed by dozens of lookups. One takes a tenth of the time that torch's
    `WeakTensorKeyDictionary` takes, as no object is made for it.
    """

    def __init__(self) -> None:
        self._facts: dict[int, tuple[_Reference, Fact]] = {}
        self._forget = _forgetting(weakref.ref(self))

    def __contains__(self, tensor: torch.Tensor) -> bool:
        """Return whether there is a fact about a tensor."""
        return id(tensor) in self._facts

    def __len__(self) -> int:
        """Return the number of tensors that there are facts about."""
        return len(self._facts)

    def __getitem__(self, tensor: torch.Tensor) -> Fact:
        """Return the fact about a tensor."""
        return self._facts[id(tensor)][1]

    def __setitem__(self, tensor: torch.Tensor, fact: Fact) -> None:
        """Note a fact about a tensor."""
        self._facts[id(tensor)] = _Reference(tensor, self._forget), fact

    def get(self, tensor: torch.Tensor) -> Fact | None:
        """Return the fact about a tensor, None if there is none."""
        found = self._facts.get(id(tensor))
        return None if found is None else found[1]

    def discard(self, tensor: torch.Tensor) -> None:
        """Forget the fact about a tensor, if there is one."""
        self._facts.pop(id(tensor), None)


class _Reference(weakref.ref[torch.Tensor]):
    """A weak reference that knows the number of its tensor."""

    __slots__ = ("number",)

    def __init__(self, tensor: torch.Tensor, forget: Callable[[_Reference], None]) -> None:
        super().__init__(tensor, forget)  # type: ignore[call-arg]
        self.number = id(tensor)


def _forgetting(facts: weakref.ref[ByTensor[Fact]]) -> Callable[[_Reference], None]:
    """Return what is called when a tensor is freed."""

    def forget(reference: _Reference) -> None:
        if (own := facts()) is not None:
            own._facts.pop(reference.number, None)

    return forget
