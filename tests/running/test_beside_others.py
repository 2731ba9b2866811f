"""Other threads and forked processes run as if no model were captured."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import phew
from phew.distributed.sharding import is_sharded
from phew.graph import WeightedLink

ROW = torch.linspace(0, 1, 4)[None]

SEEN: list[Any] = []
"""The values that threads see. A list that the model's functions close over would be put back."""


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


class Calls(nn.Module):
    """Reads values, so that it runs on real tensors, and lets another thread do something."""

    def __init__(self, body: nn.Module, work: Callable[[], object]) -> None:
        super().__init__()
        self.body, self.work = body, work

    def forward(self, x: Tensor) -> Tensor:
        assert x.isfinite().all()
        thread = threading.Thread(target=self.work)
        thread.start()
        thread.join()
        return self.body(x)  # type: ignore[no-any-return]


def linears() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 2))


def test_switches_of_the_process_stay_as_they_are() -> None:
    def look() -> None:
        flags = torch.backends.mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
        SEEN.append((*flags, torch.is_grad_enabled(), torch.is_autocast_cache_enabled()))

    phew.capture(Calls(linears(), look), ROW)
    assert set(SEEN) == {(True, True, True, True)}


def test_a_training_beside_is_what_it_is_alone() -> None:
    def train() -> list[Tensor]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.rand(2, 1, 4, 4)).square().mean().backward()
            optimizer.step()
        return [weight.detach() for weight in model.parameters()]

    alone = train()
    phew.capture(Calls(linears(), lambda: SEEN.append(train())), ROW)
    assert SEEN
    for weights in SEEN:
        assert all(map(torch.equal, weights, alone))


def test_random_numbers_of_another_thread_are_drawn_once() -> None:
    drawn: list[float] = []
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            drawn.append(torch.rand((), dtype=torch.float64).item())

    class Draws(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            assert x.isfinite().all()
            for _ in range(20):
                x = x + torch.rand_like(x) + torch.randn(4) + torch.randperm(4)
            return super().forward(x)

    model = Draws(4, 2)
    torch.manual_seed(0)
    thread = threading.Thread(target=draw)
    thread.start()
    for _ in range(3):
        phew.capture(model, ROW)
    stop.set()
    thread.join()
    torch.manual_seed(0)
    alone = [torch.rand((), dtype=torch.float64).item() for _ in drawn]
    assert drawn == alone


def test_a_model_draws_the_numbers_that_it_would_draw() -> None:
    def draw(x: Tensor) -> dict[str, Tensor]:
        return {
            "rand": torch.rand(3),
            "randn": torch.randn(2, 2, dtype=torch.float64),
            "randint": torch.randint(5, (4,)),
            "from": torch.randint(2, 9, (4,)),
            "randperm": torch.randperm(6),
            "rand_like": torch.rand_like(x),
            "randn_like": torch.randn_like(x),
            "randint_like": torch.randint_like(x, 7),
            "between": torch.randint_like(x, 3, 7),
            "normal": torch.normal(0.0, 1.0, (3,)),
            "bernoulli": torch.bernoulli(torch.full((5,), 0.5)),
            "uniform": torch.empty(3).uniform_(1, 2),
            "multinomial": torch.multinomial(torch.ones(5), 3),
            "dropout": nn.functional.dropout(torch.ones(8), 0.5, True),
            "native dropout": torch.native_dropout(torch.ones(8), 0.5, True)[0],
        }

    class Draws(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            assert x.isfinite().all()
            SEEN.append({name: one.detach().clone() for name, one in draw(ROW + 0).items()})
            return super().forward(x)

    model = Draws(4, 2)
    state = torch.get_rng_state()
    phew.capture(model, ROW)
    assert torch.equal(torch.get_rng_state(), state)
    expected = draw(ROW)
    assert all(torch.equal(SEEN[-1][name], tensor) for name, tensor in expected.items())


def test_a_model_that_seeds_leaves_random_states_as_they_were() -> None:
    class Seeds(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            torch.manual_seed(0)
            return super().forward(x) + torch.rand(2)

    model = Seeds(4, 2)
    stop: SimpleQueue[None] = SimpleQueue()
    # A thread that waits draws no numbers meanwhile.
    thread = threading.Thread(target=stop.get)
    thread.start()
    time.sleep(0.1)
    state = torch.get_rng_state()
    phew.capture(model, ROW)
    stop.put(None)
    thread.join()
    assert torch.equal(torch.get_rng_state(), state)


def test_numbers_that_another_thread_draws_from_numpy_are_drawn_once() -> None:
    drawn: list[float] = []
    stop, runs = threading.Event(), threading.Event()

    def draw() -> None:
        while not stop.is_set():
            drawn.append(np.random.rand())  # noqa: NPY002
            runs.set()

    thread = threading.Thread(target=draw)
    thread.start()
    runs.wait()
    for _ in range(5):
        phew.capture(linears(), ROW)
    stop.set()
    thread.join()
    assert len(set(drawn)) == len(drawn)


def test_a_generator_of_the_model_is_left_as_it_was() -> None:
    class Draws(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 2)
            self.generator = torch.Generator().manual_seed(7)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.rand(2, generator=self.generator)

    model = Draws()
    state = model.generator.get_state()
    phew.capture(model, ROW)
    assert torch.equal(model.generator.get_state(), state)


class Recurrent(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.cells = nn.LSTM(4, 3, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.cells(x)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("options", "num_links"),
    # One link reads the input of all steps, and one for each of three steps the state.
    [({}, 4), ({"bidirectional": True}, 8), ({"num_layers": 2, "bias": False}, 8)],
)
def test_recurrence_is_captured_step_by_step(options: dict[str, Any], num_links: int) -> None:
    model = Recurrent(**options)
    graph = phew.capture(model, torch.zeros(2, 3, 4))
    assert graph.notes.approximations == ()
    assert len([link for link in graph.links if isinstance(link, WeightedLink)]) == num_links


def test_packed_recurrence_is_captured_step_by_step() -> None:
    class Packed(Recurrent):
        def forward(self, x: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 2]), batch_first=True)
            return nn.utils.rnn.pad_packed_sequence(self.cells(packed)[0], batch_first=True)[0]

    graph = phew.capture(Packed(), torch.zeros(2, 3, 4))
    assert graph.notes.approximations == ()


def test_attention_that_reads_values_is_captured_operation_by_operation() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    model = Calls(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), lambda: None)
    graph = phew.capture(model, torch.zeros(2, 3, 4))
    assert graph.notes.approximations == ()
    assert len(graph.prunable) == 8


@pytest.mark.parametrize("module", ["torch.distributed.tensor", "torch.distributed.fsdp"])
def test_modules_that_another_thread_imports_are_not_there_yet(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, ModuleType(module))
    assert not is_sharded(ROW)
    assert phew.capture(linears(), ROW).num_prunable_weights == 30


_FORK = """
import os, threading, torch, phew
from torch import nn

class Waits(nn.Linear):
    def forward(self, x):
        runs.set()
        done.wait(60)
        return super().forward(x)

runs, done = threading.Event(), threading.Event()
thread = threading.Thread(target=phew.capture, args=(Waits(4, 2), torch.zeros(1, 4)))
thread.start()
runs.wait(60)
child = os.fork()
if child == 0:
    os._exit(phew.capture(nn.Linear(4, 2), torch.zeros(1, 4)).num_prunable_weights)
status = os.waitpid(child, 0)[1]
done.set()
thread.join()
print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(sys, "getdlopenflags"), reason="needs os.fork")
def test_a_process_that_is_forked_while_another_thread_captures_captures() -> None:
    command = [sys.executable, "-W", "ignore", "-c", _FORK]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd="/")
    assert result.stdout.strip() == "8", result.stderr
