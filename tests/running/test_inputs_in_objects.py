"""Tensors in objects that a model is given are inputs, whatever their values; outputs likewise."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import threading
from collections import ChainMap, UserDict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phew
from phew.running.tensors import with_tensors_replaced

Named = namedtuple("Named", ["x", "mask"])


@dataclass(frozen=True)
class Frozen:
    x: Tensor
    mask: Tensor
    lock: Any = field(default_factory=threading.Lock)


@dataclass(slots=True)
class Slotted:
    x: Tensor
    mask: Tensor


class Nested:
    """A pair, as DETR's NestedTensor."""

    def __init__(self, x: Tensor, mask: Tensor) -> None:
        self.x, self.mask, self.model = x, mask, nn.Linear(1, 1)


class Graphs:
    """A batch of graphs that keeps its tensors in a store, which knows the batch."""

    def __init__(self, x: Tensor, mask: Tensor) -> None:
        self.store = SimpleNamespace(mapping={"x": x, "mask": mask}, parent=self, again=[x])

    def __getattr__(self, name: str) -> Any:
        if name in ("x", "mask"):
            return self.store.mapping[name]
        raise AttributeError(name)


class Items(dict[str, Any]):
    """A dict whose items are attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Reads(nn.Module):
    """Reads a masked input; `get` takes both from what the model is given."""

    def __init__(self, get: Callable[[Any, str], Tensor] = getattr) -> None:
        super().__init__()
        self.first, self.second, self.get = nn.Linear(4, 6), nn.Linear(6, 2), get

    def forward(self, batch: Any) -> Any:
        assert not isinstance(batch, Tensor)
        x = self.first(self.get(batch, "x"))
        return self.second(x * self.get(batch, "mask"))


def item(batch: Any, name: str) -> Tensor:
    return batch[name]


def place(batch: Any, name: str) -> Tensor:
    return batch[("x", "mask").index(name)]


MAKERS: dict[str, tuple[Callable[[Tensor, Tensor], Any], Callable[[Any, str], Tensor]]] = {
    "named tuple": (Named, getattr),
    "frozen": (Frozen, getattr),
    "slots": (Slotted, getattr),
    "nested": (Nested, getattr),
    "graphs": (Graphs, getattr),
    "namespace": (lambda x, mask: SimpleNamespace(x=x, mask=mask), getattr),
    "user dict": (lambda x, mask: UserDict(x=x, mask=mask), item),
    "chain": (lambda x, mask: ChainMap({"x": x}, {"mask": mask}), item),
    "dict of attributes": (lambda x, mask: Items(x=x, mask=mask), getattr),
    "proxy": (lambda x, mask: MappingProxyType({"x": x, "mask": mask}), item),
    "proxy in object": (
        lambda x, mask: SimpleNamespace(all=MappingProxyType({"x": x, "mask": mask})),
        lambda batch, name: batch.all[name],
    ),
    "deque": (lambda x, mask: deque([x, mask]), place),
    "list of objects": (
        lambda x, mask: [SimpleNamespace(x=x), SimpleNamespace(mask=mask)],
        lambda batch, name: getattr(batch[name == "mask"], name),
    ),
}


def masks_of(name: str, fill: float) -> dict[str, int]:
    make, get = MAKERS[name]
    torch.manual_seed(0)
    model = Reads(get)
    batch = make(torch.full((3, 4), fill), torch.ones(3, 1, dtype=torch.bool))
    masks = phew.sample_masks(model, (batch,), density=0.3)
    assert get(batch, "x").tolist() == [[fill] * 4] * 3
    assert get(batch, "mask").device.type == "cpu"
    return {name: int(mask.sum()) for name, mask in masks.items()}


def test_objects_are_inputs_whatever_their_values() -> None:
    torch.manual_seed(0)
    model = Reads(item)
    expected = phew.sample_masks(
        model, ({"x": torch.zeros(3, 4), "mask": torch.ones(3, 1, dtype=torch.bool)},), density=0.3
    )
    counts = {name: int(mask.sum()) for name, mask in expected.items()}
    assert min(counts.values()) > 0
    for name in MAKERS:
        assert masks_of(name, 0.0) == masks_of(name, 1.5) == counts, name


@pytest.mark.parametrize("name", ["nested", "graphs"])
def test_objects_are_inputs_of_models_that_read_values(name: str) -> None:
    class ReadsValues(Reads):
        def forward(self, batch: Any) -> Any:
            assert self.get(batch, "x").isfinite().all()
            return super().forward(batch)

    make, get = MAKERS[name]
    batch = make(torch.zeros(3, 4), torch.ones(3, 1, dtype=torch.bool))
    graph = phew.capture(ReadsValues(get), (batch,))
    assert [graph.spaces[entry].num_units for entry in graph.entries] == [4]
    assert graph.prunable == ("first.weight", "second.weight")


def test_a_model_that_changes_the_object_leaves_the_callers_as_it_was() -> None:
    class Changes(Reads):
        def forward(self, batch: Any) -> Any:
            batch.x = self.first(batch.x)
            batch.more = batch.store.mapping.pop("mask")
            return SimpleNamespace(of=deque([self.second(batch.x)]))

    batch = Graphs(torch.zeros(3, 4), torch.ones(3, 1))
    graph = phew.capture(Changes(), (batch,))
    assert graph.prunable == ("first.weight", "second.weight")
    assert list(vars(batch)) == ["store"]
    assert list(batch.store.mapping) == ["x", "mask"]


def test_copies_are_as_the_objects_in_all_but_tensors() -> None:
    shared, lock = torch.zeros(2), threading.Lock()
    batch: Any = Graphs(shared, torch.ones(1))
    batch.other = SimpleNamespace(x=shared, lock=lock, kind=Graphs, module=threading)
    batch.linear = linear = nn.Linear(1, 1)
    copied, same = with_tensors_replaced(lambda tensor: tensor + 1, [batch, batch])
    assert copied is same
    assert copied is not batch
    assert copied.store.parent is copied
    assert copied.x.tolist() == [1, 1]
    assert copied.other.x is copied.x is copied.store.again[0]
    assert copied.other.lock is lock
    assert copied.other.kind is Graphs
    assert copied.other.module is threading
    assert copied.linear is linear
    assert batch.x is shared
    options = SimpleNamespace(size=3)
    assert with_tensors_replaced(torch.neg, (options,))[0] is options


def test_objects_that_cannot_be_copied_are_named() -> None:
    class Stubborn(Nested):
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("one of a kind")

    batch = Stubborn(torch.zeros(3, 4), torch.ones(3, 1))
    message = (
        r"^example_inputs must hold tensors in objects that can be copied, got Stubborn: "
        r"one of a kind. Give it a __deepcopy__ method.$"
    )
    with pytest.raises(TypeError, match=message):
        phew.capture(Reads(), (batch,))


def slotted(logits: Tensor) -> Any:
    return Slotted(logits, torch.ones(1))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: {"logits": y}.values(),
        lambda y: {"logits": y}.items(),
        lambda y: MappingProxyType({"logits": y}),
        lambda y: deque([y]),
        lambda y: frozenset([y]),
        slotted,
        lambda y: Graphs(y, y),
        lambda y: Items(logits=y),
    ],
    ids=["values", "items", "proxy", "deque", "frozenset", "slots", "graphs", "dict"],
)
def test_outputs_are_found(wrap: Callable[[Tensor], Any]) -> None:
    class Wraps(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return wrap(super().forward(x))

    graph = phew.capture(Wraps(4, 2), torch.zeros(1, 4))
    assert [graph.spaces[index].num_units for index in graph.exits] == [2]


def test_synflow_takes_objects() -> None:
    batch = Nested(torch.zeros(3, 4), torch.ones(3, 1))
    masks = phew.baselines.synflow(Reads(), (batch,), density=0.5)
    assert masks.num_kept == 18
    assert batch.x.tolist() == [[0.0] * 4] * 3
