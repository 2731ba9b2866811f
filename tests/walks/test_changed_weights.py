"""Weights that change while masks are sampled are an error, and never lead out of memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from walk_engines import EngineOn

import phew
from phew.graph import WalkGraph
from phew.walks import bridge
from phew.walks.options import Options
from phew.walks.sampler import Sampler

CHANGES: dict[str, Callable[[torch.Tensor], Any]] = {
    "grow": lambda weight: weight.mul_(4),
    "grow much": lambda weight: weight.mul_(1e30),
    "shrink": lambda weight: weight.mul_(0.4),
    "vanish": lambda weight: weight.zero_(),
    "become NaN": lambda weight: weight.fill_(float("nan")),
    "become infinite": lambda weight: weight.fill_(float("inf")),
    "are drawn anew": lambda weight: weight.normal_(),
}

with_changes = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


def message_for(*names: str) -> str:
    listed = " or ".join(map(repr, names))
    return f"^weights must not change while walks follow them, but those of {listed} have changed"


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(60, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU())


def graph_of(model: nn.Module) -> WalkGraph:
    return phew.capture(model, torch.zeros(1, 60))


@with_changes
@pytest.mark.parametrize("num_threads", [1, 3])
def test_weights_that_change_once_they_are_measured(
    change: Callable[[torch.Tensor], Any], num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = mlp()
    graph = graph_of(model)

    def then_change(*arguments: Any) -> None:
        bridge.check_finite(*arguments)
        with torch.no_grad():
            for parameter in model.parameters():
                change(parameter)

    monkeypatch.setattr("phew.walks.cpu_engine.check_finite", then_change)
    with pytest.raises(RuntimeError, match=message_for("0.weight")):
        phew.sample_masks(graph, density=0.3, num_threads=num_threads)


@with_changes
@pytest.mark.parametrize("granularity", ["weight", "kernel"])
def test_weights_that_change_once_walks_are_forecast(
    change: Callable[[torch.Tensor], Any], granularity: Any, engine: EngineOn
) -> None:
    # Only the second layer changes.
    graph = engine.put(graph_of(mlp()))
    sampler = Sampler(graph, Options(granularity=granularity), num_threads=2, device=engine.device)
    target = sampler.target(0.3)
    with torch.no_grad():
        change(graph.parameters["2.weight"])
    with pytest.raises(RuntimeError, match=message_for("2.weight")):
        list(sampler.run([target]))


def test_one_weight_that_changes_is_seen_by_the_walks_that_pass_its_unit() -> None:
    graph = graph_of(mlp())
    sampler = Sampler(graph, Options(), num_threads=1)
    target = sampler.target(0.5)
    with torch.no_grad():
        graph.parameters["0.weight"][7, 11] *= 1.001
    with pytest.raises(RuntimeError, match=message_for("0.weight")):
        list(sampler.run([target]))


def test_weights_that_walks_do_not_prune_must_not_change_either() -> None:
    graph = phew.capture(mlp(), torch.zeros(1, 60), exclude=["2.*"])
    sampler = Sampler(graph, Options(), num_threads=1)
    target = sampler.target(0.3)
    with torch.no_grad():
        graph.parameters["2.weight"].mul_(2)
    with pytest.raises(RuntimeError, match=message_for("2.weight")):
        list(sampler.run([target]))


def test_uniform_walks_do_not_depend_on_weights() -> None:
    graph = graph_of(mlp())
    expected = phew.sample_masks(graph, density=0.3, power=0)
    sampler = Sampler(graph, Options(power=0), num_threads=1)
    target = sampler.target(0.3)
    with torch.no_grad():
        graph.parameters["2.weight"].mul_(2)
    (sample,) = sampler.run([target])
    assert all(sample.visited[name].equal(expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_thread_that_trains_meanwhile_harms_nothing(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(256, 256, bias=False, dtype=dtype) for _ in range(3)]
    graph = phew.capture(nn.Sequential(*layers), torch.zeros(1, 256, dtype=dtype))
    initial = {name: weight.detach().clone() for name, weight in graph.parameters.items()}
    stop = threading.Event()

    def train() -> None:
        factors = (1.9, float("nan"), -4.0, 0.0, float("inf"), 1e-3)
        with torch.no_grad():
            while not stop.is_set():
                for factor in factors:
                    for name, weight in graph.parameters.items():
                        torch.mul(initial[name], factor, out=weight)
                time.sleep(0.001)

    thread = threading.Thread(target=train)
    thread.start()
    kinds: list[str] = []
    try:
        for number in range(30):
            try:
                masks = phew.sample_masks(graph, density=0.2, num_threads=2, seed=number)
            except (RuntimeError, ValueError) as error:
                kinds.append(str(error).split()[0])
            else:
                kinds.append("masks")
                assert masks.num_kept >= round(0.2 * masks.num_weights)
    finally:
        stop.set()
        thread.join()
    # Changed weights, weights that are not finite, or a density that zeros have put out of reach.
    assert set(kinds) <= {"masks", "weights", "parameter", "density"}
