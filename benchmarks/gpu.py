"""How fast are walks on a CUDA device, beside the CPU, the device's memory and PyTorch on it?

All masks and marks must be those of the CPU.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rivals.pytorch_walks import sample_masks as sample_with_pytorch
from support.graphs import CHAINS, GRAPHS, build_graph, build_network
from support.machine import median_seconds
from support.markdown import mebibytes, millions, significant, table
from support.suite import Benchmark, UnavailableError
from support.timed_engine import Walks, checksum, empty_visits
from torch import Tensor

import phew
from phew.graph import WalkGraph, WeightedLink
from phew.graph.weights import weights_of

NUMS_WALKS = (100_000, 1_000_000, 10_000_000)
COMPARED_NUM_WALKS = 1_000_000
"""The number of walks that the CPU makes too."""

MULTINOMIAL_WALKERS = 100_000
"""Walkers of `torch.multinomial`. Each takes a row of probabilities: 200 MB for 512 channels."""

DENSITY = 0.1
NETWORKS = ("lenet_300_100", "resnet20", "vgg19_bn", "resnet50")
CHAIN_NETWORKS = ("lenet_300_100", "vgg19_bn")
"""The networks that `pytorch_walks` can walk on."""

TABLED_BYTES = 5
"""Four bytes of a weight are read, and one byte of the tables is written."""

REPETITIONS = 5
NUM_COPIED = 2**30
QUICK_NUM_COPIED = 2**24


@dataclass(frozen=True)
class Card:
    """The speed of the device's memory: bytes that a copy reads and writes, and random loads."""

    device: str
    bytes_copied_per_second: float
    loads_per_second: float
    loads_from_cache_per_second: float


@dataclass(frozen=True)
class Hops:
    """The best of five runs, with tables."""

    graph: str
    num_walks: int
    num_hops: int
    seconds: float
    hops_per_second: float
    cpu_hops_per_second: float | None


@dataclass(frozen=True)
class Tables:
    """Two walks, for which the tables of all units are built: the best of five runs.

    Attributes:
        share_of_copy: Bytes that must be read and written per second, over those of a copy.
        memory: The most bytes in use beyond weights and marks.
    """

    graph: str
    num_weights: int
    seconds: float
    weights_per_second: float
    share_of_copy: float
    memory: int


@dataclass(frozen=True)
class EndToEnd:
    """`sample_masks` of a captured network: medians of five calls."""

    network: str
    num_walks: int
    seconds: float
    cpu_seconds: float
    pytorch_seconds: float | None
    memory: int


@dataclass(frozen=True)
class Multinomial:
    """Hops with `torch.multinomial`, one layer at a time."""

    graph: str
    num_walkers: int
    hops_per_second: float


AnyRow = Card | Hops | Tables | EndToEnd | Multinomial


def measure(quick: bool) -> Iterator[AnyRow]:
    if not phew.built_with_cuda:
        raise UnavailableError("phew was built without CUDA.")
    if not torch.cuda.is_available():
        raise UnavailableError("there is no CUDA device.")
    device = torch.device("cuda", torch.cuda.current_device())
    card = measure_card(device, QUICK_NUM_COPIED if quick else NUM_COPIED)
    yield card
    graphs = {name: build_graph(name) for name in (("lenet_300_100",) if quick else GRAPHS)}
    for name, graph in graphs.items():
        yield from measure_hops(name, graph, device)
    for name, graph in graphs.items():
        yield measure_tables(name, graph, device, card)
    for name in CHAINS.keys() & graphs.keys():
        graphs.pop(name)
    for name in graphs:
        if name in CHAIN_NETWORKS:
            yield measure_multinomial(name, graphs[name], device)
    for name in NETWORKS[:1] if quick else NETWORKS:
        yield measure_end_to_end(name, device)


def measure_card(device: torch.device, num_copied: int) -> Card:
    source = torch.empty(num_copied, dtype=torch.int64, device=device)
    target = torch.empty_like(source)
    copying = best_seconds(lambda: target.copy_(source))
    return Card(
        torch.cuda.get_device_name(device),
        2 * source.numel() * source.element_size() / copying,
        _loads_per_second(source),
        _loads_per_second(source[: 2**21]),
    )


def _loads_per_second(memory: Tensor) -> float:
    """Load elements at random, while their indices are read and they are written in order."""
    indices = torch.randint(memory.numel(), (2**27,), device=memory.device)
    loaded = torch.empty_like(indices)
    return indices.numel() / best_seconds(lambda: torch.take(memory, indices, out=loaded))


def best_seconds(function: Callable[[], Any]) -> float:
    """Return the best time from calling a function until the work that it queued is done."""
    synchronised(function)
    return min(_timed(function) for _ in range(REPETITIONS))


def synchronised(function: Callable[[], Any]) -> None:
    function()
    torch.cuda.synchronize()


def _timed(function: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    synchronised(function)
    return time.perf_counter() - started


def on_device(graph: WalkGraph, device: torch.device) -> WalkGraph:
    moved = {name: data.detach().to(device) for name, data in graph.parameters.items()}
    return replace(graph, parameters=moved)


def measure_hops(name: str, graph: WalkGraph, device: torch.device) -> Iterator[Hops]:
    num_threads = torch.get_num_threads()
    walks = Walks(on_device(graph, device), num_threads=num_threads, device=device)
    cpu_walks = Walks(graph, num_threads=num_threads)
    visited = empty_visits(graph, torch.bool, device)
    for num_walks in NUMS_WALKS:
        num_hops = cpu_walks.count_hops(num_walks)
        for marks in visited.values():
            marks.zero_()
        seconds = best_seconds(lambda n=num_walks: walks.mark(n, visited))  # type: ignore[misc]
        cpu_rate = None
        if num_walks == COMPARED_NUM_WALKS:
            cpu_visited = empty_visits(graph, torch.bool)
            started = time.perf_counter()
            cpu_walks.mark(num_walks, cpu_visited)
            cpu_rate = num_hops / (time.perf_counter() - started)
            assert checksum(visited) == checksum(cpu_visited)
        yield Hops(name, num_walks, num_hops, seconds, num_hops / seconds, cpu_rate)


def measure_tables(name: str, graph: WalkGraph, device: torch.device, card: Card) -> Tables:
    graph = on_device(graph, device)
    walks = Walks(graph, num_threads=1, device=device)
    visited = empty_visits(graph, torch.bool, device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    seconds = best_seconds(lambda: walks.mark(2, visited))
    rate = 2 * graph.num_prunable_weights / seconds
    return Tables(
        name,
        graph.num_prunable_weights,
        seconds,
        rate,
        TABLED_BYTES * rate / card.bytes_copied_per_second,
        torch.cuda.max_memory_allocated() - before,
    )


def measure_multinomial(name: str, graph: WalkGraph, device: torch.device) -> Multinomial:
    """Hop forward and backward, by channel and then by kernel position, and mark the weights."""
    magnitudes = [
        weights_of(graph, link).abs()[0].to(device)
        for link in graph.links
        if isinstance(link, WeightedLink)
    ]
    visited = [torch.zeros(layer.shape, dtype=torch.bool, device=device) for layer in magnitudes]
    channels = [layer.sum(dim=2) for layer in magnitudes]

    def hop_over_all() -> None:
        for layers, is_forward in (
            (range(len(channels)), True),
            (range(len(channels))[::-1], False),
        ):
            for layer in layers:
                size = channels[layer].shape[1 if is_forward else 0]
                # The time of a hop does not depend on where walkers stand.
                near = torch.arange(MULTINOMIAL_WALKERS, device=device) % size
                rows = channels[layer].T if is_forward else channels[layer]
                far = torch.multinomial(rows[near], 1).squeeze(1)
                targets, sources = (far, near) if is_forward else (near, far)
                kernels = magnitudes[layer][targets, sources]
                positions = torch.multinomial(kernels, 1).squeeze(1)
                visited[layer][targets, sources, positions] = True

    num_hops = 2 * MULTINOMIAL_WALKERS * len(channels)
    return Multinomial(name, MULTINOMIAL_WALKERS, num_hops / best_seconds(hop_over_all))


def measure_end_to_end(name: str, device: torch.device) -> EndToEnd:
    network, example = build_network(name)
    graph = phew.capture(network, example)
    expected = phew.sample_masks(graph, density=DENSITY)
    cpu_seconds = median_seconds(
        lambda: phew.sample_masks(graph, density=DENSITY), repetitions=REPETITIONS
    )
    network.to(device)
    graph = phew.capture(network, example.to(device))
    masks = phew.sample_masks(graph, density=DENSITY)
    assert masks.num_walks == expected.num_walks
    assert checksum(masks) == checksum(expected)
    del masks
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    seconds = sorted(
        _timed(lambda: phew.sample_masks(graph, density=DENSITY)) for _ in range(REPETITIONS)
    )[REPETITIONS // 2]
    memory = torch.cuda.max_memory_allocated() - before
    pytorch_seconds = None
    if name in CHAIN_NETWORKS:
        generator = torch.Generator(device)
        pytorch_seconds = best_seconds(lambda: sample_with_pytorch(network, DENSITY, generator))
    num_walks = expected.num_walks
    assert num_walks is not None
    return EndToEnd(name, num_walks, seconds, cpu_seconds, pytorch_seconds, memory)


NOTES = f"""\
- *Hops* have everything in them but measuring the weights: the tables of both directions,
  channel, kernel position and mark; the best of {REPETITIONS} runs after one more. The CPU's are
  one run with all of torch's threads.
- *Tables* are those of all units in both directions, timed by two walks, which have them built as
  millions of walks do, launches included: of small networks they are most of it. *Of the copy* is
  {TABLED_BYTES} bytes per weight and direction, 4 read and 1 written, over the bytes that a copy
  reads and writes. The engine moves 7: what it has written it reads and writes once more.
- *End to end* is `sample_masks` of a captured graph at density {DENSITY}; *PyTorch* is
  `pytorch_walks.py` on the device, one `searchsorted` per layer. `torch.multinomial` hops by
  channel and then by kernel position, {MULTINOMIAL_WALKERS:,} walkers at once.
- cuGraph was not compared: its packages were too large to bring to the machine.
- *MiB* is what torch's allocator held at most beyond the weights, and beyond the marks of hops."""


def tables(rows: Sequence[AnyRow]) -> str:
    parts = []
    for kind, rows_of_kind in itertools.groupby(rows, type):
        parts.append(_TABLES[kind](list(rows_of_kind)))
    return "\n\n".join((*parts, NOTES))


def _card_line(rows: Sequence[Card]) -> str:
    (card,) = rows
    return (
        f"{card.device}: copies {significant(card.bytes_copied_per_second / 1e9)} GB/s; "
        f"{significant(card.loads_per_second / 1e9)} billion random loads per second from 8 GiB, "
        f"{significant(card.loads_from_cache_per_second / 1e9)} from 16 MiB."
    )


def _hops_table(rows: Sequence[Hops]) -> str:
    header = ("graph", "walks", "hops", "seconds", "million hops/s", "on the CPU")
    cells = [
        (
            row.graph,
            f"{row.num_walks:,}",
            f"{row.num_hops:,}",
            significant(row.seconds),
            millions(row.hops_per_second),
            "" if row.cpu_hops_per_second is None else millions(row.cpu_hops_per_second),
        )
        for row in rows
    ]
    return table(header, cells, num_words=1)


def _tables_table(rows: Sequence[Tables]) -> str:
    header = ("graph", "weights", "seconds", "million tabled/s", "of the copy", "MiB")
    cells = [
        (
            row.graph,
            f"{row.num_weights:,}",
            significant(row.seconds),
            millions(row.weights_per_second),
            f"{row.share_of_copy:.0%}",
            mebibytes(row.memory),
        )
        for row in rows
    ]
    return table(header, cells, num_words=1)


def _multinomial_table(rows: Sequence[Multinomial]) -> str:
    cells = [(row.graph, millions(row.hops_per_second)) for row in rows]
    return table(("graph", "million hops/s with torch.multinomial"), cells, num_words=1)


def _end_to_end_table(rows: Sequence[EndToEnd]) -> str:
    header = ("network", "walks", "seconds", "on the CPU", "PyTorch on the device", "MiB")
    cells = [
        (
            row.network,
            f"{row.num_walks:,}",
            significant(row.seconds),
            significant(row.cpu_seconds),
            "" if row.pytorch_seconds is None else significant(row.pytorch_seconds),
            mebibytes(row.memory),
        )
        for row in rows
    ]
    return table(header, cells, num_words=1)


_TABLES: dict[type, Callable[[Any], str]] = {
    Card: _card_line,
    Hops: _hops_table,
    Tables: _tables_table,
    Multinomial: _multinomial_table,
    EndToEnd: _end_to_end_table,
}


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
