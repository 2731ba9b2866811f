from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace

import torch

from phew.running.tensors import all_tensors


class MadeOnAccess(Mapping[str, object]):
    """A mapping of a list and a deeper mapping, which are made whenever they are asked for."""

    def __init__(self, depth: int) -> None:
        self._depth = depth

    def __getitem__(self, key: str) -> object:
        if key == "tensors":
            return [torch.tensor(float(self._depth))]
        return MadeOnAccess(self._depth - 1)

    def __iter__(self) -> Iterator[str]:
        return iter(("tensors", "deeper")[: 1 + (self._depth > 0)])

    def __len__(self) -> int:
        return 1 + (self._depth > 0)


def test_outputs_that_are_freed_are_not_taken_for_later_ones() -> None:
    found = [int(tensor) for tensor in all_tensors(MadeOnAccess(20))]
    assert found == list(range(20, -1, -1))


def test_outputs_come_in_order_of_depth_and_once_each() -> None:
    first, second, third = (torch.tensor(float(value)) for value in range(3))
    outputs = SimpleNamespace(deep=[[third]], shallow=(second, first), again=second)
    outputs.itself = outputs
    assert [int(tensor) for tensor in all_tensors(outputs)] == [1, 0, 2]


def test_many_outputs_are_found_in_one_pass() -> None:
    outputs = [torch.zeros(()) for _ in range(100)]
    found = list(all_tensors(outputs * 1000))
    assert all(one is other for one, other in zip(found, outputs, strict=True))
