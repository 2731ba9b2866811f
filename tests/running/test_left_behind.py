"""Nothing of a run stays in objects, classes or caches: the model runs as before."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, no-any-return"
import functools
from collections import OrderedDict, UserDict
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phew

ROW = torch.linspace(-1, 1, 8)[None]

LAST: Tensor | None = None
SEEN: list[Tensor] = []


class Slotted:
    __slots__ = ("__private", "last")

    def __init__(self) -> None:
        self.last: Tensor | None = None

    def hide(self, tensor: Tensor) -> None:
        self.__private = tensor


class Node:
    """One of two that refer to each other."""

    def __init__(self) -> None:
        self.other: Any = None
        self.states: list[Any] = []


class Keeps(nn.Module):
    """Keeps tensors of its run where `keep` says, and reads them if they are there."""

    shared: Tensor | None = None
    registry: dict[str, Tensor] = {}  # noqa: RUF012

    def __init__(self, keep: Callable[[Keeps, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.keep = nn.Linear(8, 6), nn.Linear(6, 2), keep
        self.slotted, self.node = Slotted(), Node()
        self.node.other = Node()
        self.node.other.other = self.node
        self.user, self.tracker = UserDict({"count": 0}), OrderedDict(a=1)
        self.closed = counting()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.keep(self, self.first(x)))


def counting() -> Callable[[Tensor], Tensor]:
    kept: list[Tensor] = []
    last: Tensor | None = None

    def keep(x: Tensor) -> Tensor:
        nonlocal last
        kept.append(x)
        last = x if last is None else last
        return last + 0 * kept[0]

    return keep


@functools.lru_cache(maxsize=8)
def cached_scale(weight: Tensor, size: int) -> tuple[Tensor, int]:
    return weight.detach().abs().amax() + 1, size


def on_parameter(model: Keeps, x: Tensor) -> Tensor:
    weight: Any = model.first.weight
    if not hasattr(weight, "original"):
        weight.original = weight.detach().clone()
    return x + weight.original.sum()


def in_slots(model: Keeps, x: Tensor) -> Tensor:
    if model.slotted.last is None:
        model.slotted.last = x
        model.slotted.hide(x)
    return x + model.slotted.last


def in_objects(model: Keeps, x: Tensor) -> Tensor:
    model.node.other.states.append((x,))
    model.user["count"] += 1
    model.user["last"] = model.user.get("last", x)
    model.node.other.other.new = x
    return x + model.user["last"] + model.node.other.states[0][0]


def in_closure(model: Keeps, x: Tensor) -> Tensor:
    return model.closed(x)


def in_class(model: Keeps, x: Tensor) -> Tensor:
    if Keeps.shared is None:
        Keeps.shared = x
    return x + Keeps.shared + Keeps.registry.setdefault("x", x)


def in_python_module(model: Keeps, x: Tensor) -> Tensor:
    global LAST
    if LAST is None:
        LAST = x
    SEEN.append(x)
    return x + LAST + SEEN[0]


def in_cache(model: Keeps, x: Tensor) -> Tensor:
    return x * cached_scale(model.first.weight, x.shape[-1])[0]


def in_default(model: Keeps, x: Tensor, seen: list[Tensor] = []) -> Tensor:  # noqa: B006
    seen.append(x)
    return x + seen[0]


class Held(nn.Module):
    """Keeps a tensor where nothing leads from the model: in a variable of a generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.memory = nn.Linear(8, 2), remembering()
        next(self.memory)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y + self.memory.send(y)


def remembering() -> Generator[Any, Tensor, None]:
    first = yield
    while True:
        yield first


KEEPERS = [
    on_parameter,
    in_slots,
    in_objects,
    in_closure,
    in_class,
    in_python_module,
    in_cache,
    in_default,
]


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    global LAST
    yield
    LAST, Keeps.shared = None, None
    SEEN.clear()
    Keeps.registry.clear()
    cached_scale.cache_clear()
    in_default.__defaults__[0].clear()  # type: ignore[index]


@pytest.mark.parametrize("keep", KEEPERS)
def test_the_model_runs_as_before(keep: Callable[[Keeps, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = Keeps(keep)
    graph = phew.capture(model, ROW)
    assert graph.prunable == ("first.weight", "second.weight")
    after = model(ROW)
    torch.manual_seed(0)
    other = Keeps(keep)
    Keeps.shared, Keeps.registry = None, {}
    SEEN.clear()
    cached_scale.cache_clear()
    torch.testing.assert_close(after, other(ROW), rtol=0, atol=0)


def test_objects_are_as_they_were() -> None:
    model = Keeps(in_objects)
    node, user = model.node, model.user
    phew.capture(model, ROW)
    assert model.node is node
    assert node.other.states == []
    assert "new" not in vars(node)
    assert (model.user is user, dict(user)) == (True, {"count": 0})
    assert vars(model.first.weight) == {}
    slotted = Keeps(in_slots)
    phew.capture(slotted, ROW)
    assert slotted.slotted.last is None
    assert not hasattr(slotted.slotted, "_Slotted__private")


def test_what_classes_and_modules_held_before_stays() -> None:
    earlier = torch.ones(1, 6)
    SEEN.append(earlier)
    Keeps.registry["y"] = earlier
    phew.capture(Keeps(in_python_module), ROW)
    phew.capture(Keeps(in_class), ROW)
    assert LAST is None
    assert Keeps.shared is None
    assert [one is earlier for one in SEEN] == [True]
    assert list(Keeps.registry) == ["y"]


def test_caches_of_functions_keep_what_is_not_of_the_run() -> None:
    weight = torch.ones(2)
    cached_scale(weight, 2)
    phew.capture(Keeps(in_closure), ROW)
    assert cached_scale.cache_info().currsize == 1


def test_data_that_is_swapped_while_the_model_runs_is_put_back() -> None:
    class Binary(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            weight: Any = self.weight
            if not hasattr(weight, "org"):
                weight.org = weight.data.clone()
            weight.data = weight.org.sign()
            return nn.functional.linear(x, weight, self.bias)

    model = nn.Sequential(Binary(8, 16), nn.Hardtanh(), Binary(16, 4))
    before = [weight.clone() for weight in model.parameters()]
    graph = phew.capture(model, ROW)
    assert graph.num_prunable_weights == 8 * 16 + 16 * 4
    assert all(map(torch.equal, model.parameters(), before))
    assert model(ROW).shape == (1, 4)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_errors_that_end_capture_at_once_leave_nothing(error: type[BaseException]) -> None:
    def fail(model: Keeps, x: Tensor) -> Tensor:
        in_class(model, x)
        in_cache(model, x)
        raise error

    with pytest.raises(error):
        phew.capture(Keeps(fail), ROW)
    assert (Keeps.shared, Keeps.registry) == (None, {})
    assert cached_scale.cache_info().currsize == 0


def test_what_cannot_be_put_back_is_warned_of() -> None:
    model = Held()
    message = r"model must keep its state in attributes, got 1 tensors .* \(1, 2\)"
    with pytest.warns(UserWarning, match=message):
        phew.capture(model, ROW)


def test_objects_of_others_are_not_touched() -> None:
    """Another thread may use a class meanwhile: what it changes there is its own."""

    class Counts(Keeps):
        calls: list[int] = []  # noqa: RUF012
        count = 0

    def count(model: Keeps, x: Tensor) -> Tensor:
        Counts.calls.append(1)
        Counts.count += 1
        return x

    phew.capture(Counts(count), ROW)
    assert (Counts.calls, Counts.count) == ([1], 1)
