"""Time and memory of walks: they grow with weights and walks, and not with threads or diamonds."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from equality import assert_same_elements
from torch import nn

import phew
from phew.graph import WalkGraph
from phew.reference import Reference
from phew.walks.options import Granularity


def processor_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


@pytest.mark.parametrize("granularity", ["weight", "kernel"])
def test_long_kernels_take_time_in_proportion(granularity: Granularity) -> None:
    torch.manual_seed(0)

    def seconds(num_positions: int) -> float:
        layer = nn.Conv1d(2, 2, num_positions, bias=False)
        graph = phew.capture(layer, torch.zeros(1, 2, num_positions))
        sample = partial(phew.sample_masks, graph, density=0.3, granularity=granularity)
        return processor_seconds(partial(sample, num_threads=1))

    # Four times as many take four times as long, and have no cliff where 16 bits end.
    assert seconds(120_000) < 20 * seconds(30_000) + 0.2


def test_long_kernels_have_the_masks_of_the_reference() -> None:
    torch.manual_seed(0)
    layers = nn.Conv1d(2, 3, 300, bias=False), nn.Conv1d(3, 2, 1)
    graph = phew.capture(nn.Sequential(*layers), torch.zeros(1, 2, 300))
    kinds: tuple[Granularity, ...] = ("weight", "kernel")
    for granularity in kinds:
        expected = Reference(graph, granularity=granularity).sample_masks(0.02)
        masks = phew.sample_masks(graph, density=0.02, granularity=granularity)
        assert masks.num_walks == expected.num_walks
        assert_same_elements(masks, expected.masks, granularity)


PEAK_OF_THREADS = """
import resource, sys, torch, phew
from phew.graph import Space, WalkGraph, WeightedLink
num_units, num_threads = int(sys.argv[1]), int(sys.argv[2])
link = WeightedLink(0, 1, "w", num_units, 1, 1, 1, (1, 1, 1, 1))
spaces = Space("a", num_units), Space("b", num_units)
torch.manual_seed(0)
weights = {"w": torch.rand(num_units)}
graph = WalkGraph(spaces, (link,), (0,), (1,), weights, ("w",))
masks = phew.sample_masks(graph, density=0.1, num_threads=num_threads)
print(masks.num_walks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_threads_times_units(tmp_path: Path) -> None:
    def run(num_threads: int) -> tuple[int, int]:
        command = [sys.executable, "-c", PEAK_OF_THREADS, "300000", str(num_threads)]
        num_walks, peak = subprocess.check_output(command, text=True, cwd=tmp_path).split()
        return int(num_walks), int(peak)

    (num_walks, few), (same_walks, many) = run(1), run(64)
    assert num_walks == same_walks
    # A bucket for each thread and space took 430 MiB.
    assert many - few < 100


REFUSED_THREADS = """
import resource, torch, phew
from torch import nn
graph = phew.capture(nn.Linear(8, 8), torch.zeros(1, 8))
phew.sample_masks(graph, density=0.5, num_threads=1)
with open("/proc/self/statm") as file:
    in_use = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 2**27,) * 2)
try:
    phew.sample_masks(graph, density=0.5, num_threads=1000)
except RuntimeError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by address space")
def test_threads_that_the_system_refuses_are_an_error_by_name(tmp_path: Path) -> None:
    command = [sys.executable, "-c", REFUSED_THREADS]
    message = subprocess.check_output(command, text=True, cwd=tmp_path)
    assert message.startswith(
        "num_threads must be as many as the system can start, got 1000: it started "
    )
    assert message.endswith("Give fewer.\n")


class Diamonds(nn.Module):
    """Layers with many diamonds between them: sums of a vector and a permutation of it."""

    def __init__(self, kind: str, num_diamonds: int, size: int) -> None:
        super().__init__()
        self.kind, self.num_diamonds, self.size = kind, num_diamonds, size
        self.first, self.last = nn.Linear(6, size), nn.Linear(size, 3)

    def moved(self, x: torch.Tensor, number: int) -> torch.Tensor:
        step = 2 ** (number % 3)
        if self.kind == "roll":
            return torch.roll(x, 1, -1)
        if self.kind == "butterfly":
            return x.unflatten(-1, (-1, 2, step)).flip(-2).flatten(-3)
        if self.kind == "rotary":
            first, second = x.chunk(2, -1)
            return torch.cat([-second, first], -1)
        return nn.functional.pad(x[..., :-step], (step, 0))  # a scan

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for number in range(self.num_diamonds):
            x = x + self.moved(x, number)
        return self.last(x)


def diamonds(kind: str, num_diamonds: int, size: int) -> WalkGraph:
    torch.manual_seed(0)
    return phew.capture(Diamonds(kind, num_diamonds, size), torch.zeros(1, 6))


with_kinds = pytest.mark.parametrize("kind", ["roll", "butterfly", "rotary", "scan"])


@with_kinds
def test_sixteen_diamonds_have_the_masks_of_the_reference(kind: str) -> None:
    graph = diamonds(kind, 16, 8)
    expected = Reference(graph).sample_masks(0.4)
    for num_threads in (1, 3):
        masks = phew.sample_masks(graph, density=0.4, num_threads=num_threads)
        assert masks.num_walks == expected.num_walks
        assert_same_elements(masks, expected.masks, kind)


@with_kinds
def test_sixteen_diamonds_take_four_times_as_long_as_four(kind: str) -> None:
    graphs = {number: diamonds(kind, number, 4096) for number in (4, 16)}
    seconds = {
        number: processor_seconds(partial(phew.sample_masks, graph, density=0.5, num_threads=2))
        for number, graph in graphs.items()
    }
    # Buckets that double at each diamond would make that 4,096 times as long.
    assert seconds[16] < 12 * seconds[4] + 0.3
