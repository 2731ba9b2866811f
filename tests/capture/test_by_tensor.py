"""Facts about tensors are found by identity, and forgotten with the tensors."""

from __future__ import annotations

import torch

from phew.capture.by_tensor import ByTensor


def test_equal_tensors_have_facts_of_their_own() -> None:
    facts = ByTensor[str]()
    one, other = torch.zeros(2), torch.zeros(2)
    facts[one] = "one"
    assert one in facts
    assert other not in facts
    assert facts[one] == "one"
    assert facts.get(other) is None
    facts.discard(one)
    facts.discard(other)
    assert len(facts) == 0


def test_facts_are_forgotten_when_a_tensor_is_freed() -> None:
    facts = ByTensor[int]()
    kept = torch.zeros(2)
    facts[kept] = 0
    for number in range(100):
        # Python may give the memory of one that is freed to the next, and so its id.
        tensor = torch.zeros(2)
        assert tensor not in facts
        facts[tensor] = number
        del tensor
    assert len(facts) == 1


def test_a_fact_may_be_noted_again() -> None:
    facts = ByTensor[int]()
    tensor = torch.zeros(2)
    for number in range(3):
        facts[tensor] = number
        assert facts[tensor] == number
    facts.discard(tensor)
    facts[tensor] = 3
    assert facts[tensor] == 3


def test_a_base_that_only_its_view_keeps_alive_keeps_its_fact() -> None:
    facts = ByTensor[int]()
    base = torch.zeros(2, 3)
    view = base[0]
    facts[base] = 1
    del base
    assert view._base is not None
    assert facts.get(view._base) == 1
