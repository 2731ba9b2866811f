"""How fast are the engines that people would otherwise use, on the same layered graphs?

The edges of the graphs join channels, and have the sum of a kernel's magnitudes as their mass. Each
engine takes each graph in a process of its own, with two threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import torch
from rivals.layered_graph import NUM_CHECKED_GROUPS, NUM_CHECKED_SOURCES, LayeredGraph, agree
from rivals.peer_engines import NUM_THREADS, PEERS, VARIABLES, as_paths
from support.graphs import build_graph
from support.machine import peak_memory
from support.markdown import mebibytes, millions, significant, table
from support.processes import Failure, within_limits
from support.suite import Benchmark
from support.timed_engine import Walks, empty_visits

from phew.graph import WalkGraph

NUMS_WALKS = {"lenet_300_100": 10_000_000, "vgg19_bn": 10_000_000, "wide chain": 200_000}
QUICK_NUMS_WALKS = {"lenet_300_100": 20_000}

MAX_SECONDS = 120.0
QUICK_MAX_SECONDS = 20.0
MAX_BYTES = 16 * 2**30

FIRST_NUM_WALKS = 10
ENOUGH_SECONDS = 5.0
QUICK_ENOUGH_SECONDS = 0.1
MAX_REPETITIONS = 3

LEAST_RATE, MOST_RATE = 1e1, 1e12
"""The ends of the figure's axis, in hops per second."""

MAX_STRAYS = 1e-4
"""The largest share of hops off the edges with which an engine still counts as right."""


@dataclass(frozen=True)
class Row:
    """An engine on a graph: a failure, or how fast it was.

    Attributes:
        version: The version of its package, empty if that is not installed.
        failure: The reason why there are no numbers, if there are none.
        num_walks: The number of walks that were asked for, less if an engine is slow.
        num_hops: The hops over edges of the graph.
        num_strays: The hops along no edge, which a mistake in an engine may make.
        follows_weights: Whether the first layer's edges are visited in proportion to the weights.
        set_up_seconds: Seconds of making the engine's graph and tables from arrays.
        walk_seconds: Seconds of the walks, the best of up to three runs.
        hops_per_second: The rate of the walks alone.
        hops_per_second_in_all: The rate with the set-up, spread over all walks asked for.
        memory: The most bytes in use beyond those of the weights.
        ratio: phew's rate in all over that of the engine.
    """

    graph: str
    engine: str
    version: str
    failure: str | None = None
    num_walks: int = 0
    num_hops: int = 0
    num_strays: int = 0
    follows_weights: bool = False
    set_up_seconds: float = 0.0
    walk_seconds: float = 0.0
    hops_per_second: float = 0.0
    hops_per_second_in_all: float = 0.0
    memory: int = 0
    ratio: float = 0.0


@dataclass(frozen=True)
class Timed:
    num_walks: int
    num_hops: int
    num_strays: int
    follows_weights: bool
    set_up_seconds: float
    walk_seconds: float
    memory: int


def measure(quick: bool) -> Iterator[Row]:
    packages = {"phew": "torch-phew", **{name: peer.package for name, peer in PEERS.items()}}
    for graph, num_walks in (QUICK_NUMS_WALKS if quick else NUMS_WALKS).items():
        best = 0.0
        for engine, package in packages.items():
            row = _measure(Row(graph, engine, _version(package)), num_walks, quick)
            if engine == "phew":
                assert row.failure is None, row
                best = row.hops_per_second_in_all
            if row.failure is None:
                row = replace(row, ratio=best / row.hops_per_second_in_all)
            yield row


def _measure(row: Row, num_walks: int, quick: bool) -> Row:
    if not row.version:
        return replace(row, failure="not installed")
    seconds = QUICK_MAX_SECONDS if quick else MAX_SECONDS
    limits = (seconds, MAX_BYTES, VARIABLES)
    size = (row.graph, num_walks, QUICK_ENOUGH_SECONDS if quick else ENOUGH_SECONDS)
    try:
        if row.engine == "phew":
            timed = within_limits(*limits, time_phew, *size)
        else:
            timed = within_limits(*limits, time_peer, row.engine, *size)
    except Failure as failure:
        return replace(row, failure=str(failure))
    set_up_share = min(1.0, timed.num_walks / num_walks) * timed.set_up_seconds
    return replace(
        row,
        **vars(timed),
        hops_per_second=timed.num_hops / timed.walk_seconds,
        hops_per_second_in_all=timed.num_hops / (set_up_share + timed.walk_seconds),
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def time_phew(name: str, num_walks: int, enough_seconds: float) -> Timed:
    """Time phew's engine, with all walks and marks, in a process of its own."""
    _walk_phew(build_graph("lenet5"), 2, 0.0)  # leaves out what only a first call does
    before = peak_memory()
    graph = build_graph(name)
    walks, walk_seconds = _walk_phew(graph, num_walks, enough_seconds)
    memory = peak_memory() - before - _num_bytes(graph)
    layered = LayeredGraph.of(graph)
    num_hops = walks.count_hops(num_walks)
    assert num_hops == num_walks * layered.num_layers
    return Timed(
        num_walks,
        num_hops,
        0,
        _phew_follows_weights(graph, layered, walks, num_walks),
        walks.measuring_seconds,
        walk_seconds,
        memory,
    )


def _walk_phew(graph: WalkGraph, num_walks: int, enough_seconds: float) -> tuple[Walks, float]:
    walks = Walks(graph, num_threads=NUM_THREADS)
    visited = empty_visits(graph, torch.bool)

    def clear() -> None:
        for marks in visited.values():
            marks.zero_()

    mark = partial(walks.mark, num_walks, visited)
    return walks, _best_seconds(mark, enough_seconds, before_each=clear)


def _phew_follows_weights(
    graph: WalkGraph, layered: LayeredGraph, walks: Walks, num_walks: int
) -> bool:
    """Compare visits to the first layer with those expected of walks in both directions."""
    arriving = np.full(layered.sizes[-1], 1 / layered.sizes[-1])
    for masses in reversed(layered.layers[1:]):
        arriving = masses @ (arriving / masses.sum(axis=0, dtype=np.float64))
    masses = layered.layers[0]
    forward = masses / masses.sum(axis=1, dtype=np.float64, keepdims=True) / len(masses)
    backward = masses * (arriving / masses.sum(axis=0, dtype=np.float64))
    counts = walks.count(num_walks)[graph.prunable[0]]
    visits = counts.reshape(*counts.shape[:2], -1).sum(-1).numpy().T
    expected = num_walks / 2 * (forward + backward)
    return agree(visits[:NUM_CHECKED_SOURCES], expected[:NUM_CHECKED_SOURCES])


def time_peer(engine: str, name: str, num_walks: int, enough_seconds: float) -> Timed:
    """Time another engine, in a process of its own."""
    torch.set_num_threads(NUM_THREADS)
    peer = PEERS[engine]
    small = LayeredGraph((3, 2, 2), np.ones(10, dtype=np.float32))
    peer.set_up(small)(small.starts(6))  # leaves out what only a first call does
    build_graph("lenet5")
    before = peak_memory()
    graph = build_graph(name)
    layered = LayeredGraph.of(graph)
    started = time.perf_counter()
    walk = peer.set_up(layered)
    set_up_seconds = time.perf_counter() - started
    starts = layered.starts(num_walks)
    starts = starts[: _fitting(lambda num: walk(starts[:num]), num_walks, enough_seconds)]
    results: list[Any] = []
    walk_seconds = _best_seconds(
        lambda: results.append(walk(starts)), enough_seconds, before_each=results.clear
    )
    memory = peak_memory() - before - _num_bytes(graph)
    paths = as_paths(results[0])
    assert peer.starts_anywhere or np.array_equal(paths[:, 0], starts), "walks start elsewhere"
    hops = layered.hops(paths)
    assert hops.num_strays <= MAX_STRAYS * len(hops.sources), f"{hops.num_strays} hops off edges"
    return Timed(
        len(paths),
        len(hops.sources),
        hops.num_strays,
        layered.follow_weights(hops),
        set_up_seconds,
        walk_seconds,
        memory,
    )


def _fitting(walk: Callable[[int], object], max_walks: int, enough_seconds: float) -> int:
    """Find how many walks take enough seconds, so that the cost of the call itself is small."""
    num_walks, before = FIRST_NUM_WALKS, float("inf")
    while num_walks < max_walks:
        started = time.perf_counter()
        walk(num_walks)
        seconds = time.perf_counter() - started
        if seconds > max(enough_seconds / 4, 3 * before):
            return max(num_walks, min(max_walks, int(num_walks * enough_seconds / seconds)))
        num_walks, before = 10 * num_walks, seconds
    return max_walks


def _best_seconds(
    function: Callable[[], object],
    enough_seconds: float,
    *,
    before_each: Callable[[], object] = lambda: None,
) -> float:
    seconds: list[float] = []
    while not seconds or (len(seconds) < MAX_REPETITIONS and sum(seconds) < enough_seconds):
        before_each()
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _num_bytes(graph: WalkGraph) -> int:
    return sum(weights.numel() * weights.element_size() for weights in graph.parameters.values())


NOTES = f"""\
- Walks go forward, and draw the next edge in proportion to its weight. Two threads, best of up to
  three runs of ten million walks, of the wide chain 200,000; of slow engines as many as take
  about {ENOUGH_SECONDS:g} s. *In all* is with the setting up, spread over all walks asked for.
- phew reads the weights as they are, alternates forward and backward walks, draws a kernel position
  for each hop and marks the weight; the others return the units. Its setting up is the measuring of
  the weights; its tables are made while it walks, for the walks of the run, and count as walking.
- Setting up another engine begins with the sums of the kernels in one array, row after row. The
  arrays of rows and targets, lists, tables and copies that an engine needs are part of its seconds
  and memory; the sums are part of its memory.
- *Weighted* is measured: visits to the first layer's edges, in {NUM_CHECKED_GROUPS} groups from
  the lightest to the heaviest, agree with the weights. torch-cluster draws edges evenly.
- *Stray* are hops between units that no edge joins: where the weights of a unit, scaled to 1, add
  up to less than the draw after rounding, graph-walker takes the first edge of the graph.
- cxrandomwalk and ensmallen start walks on all units of all layers. ensmallen refuses graphs where
  walks end, so its last layer leads back to the first. igraph and fastnode2vec make one walk a
  call. An engine has {MAX_SECONDS:g} s and {MAX_BYTES / 2**30:g} GiB for everything.
- NetworKit 11.3 has no function that returns random walks, and GraphRoam 0.1.0 reads unweighted
  edges from files. Not to be had on Linux with Python 3.11 and NumPy 2: PecanPy 2.0.9 (needs
  NumPy 1), DGL 2.1.0 (needs an older torchdata), tempest-rw 1.0.6 (needs CUDA), jgrapht 1.5.0.3 and
  karateclub (do not build), pyg-lib and StellarGraph (not in the package index)."""


def tables(rows: Sequence[Row]) -> str:
    header = (
        *("graph", "engine", "weighted", "walks", "stray hops", "set-up seconds", "walk seconds"),
        *("million hops/s", "in all", "MiB beyond weights", "phew is faster by"),
    )
    cells = [
        (
            row.graph,
            f"{row.engine} {row.version}",
            "yes" if row.follows_weights else "no",
            f"{row.num_walks:,}",
            f"{row.num_strays:,}",
            significant(row.set_up_seconds),
            significant(row.walk_seconds),
            millions(row.hops_per_second),
            millions(row.hops_per_second_in_all),
            mebibytes(row.memory),
            significant(row.ratio),
        )
        for row in rows
        if row.failure is None
    ]
    failures = [
        f"- {row.engine} on {row.graph}: {row.failure}." for row in rows if row.failure is not None
    ]
    parts = [table(header, cells, num_words=3)]
    if failures:
        parts.append("Without numbers:\n\n" + "\n".join(failures))
    return "\n\n".join((*parts, NOTES))


def plot(rows: Sequence[Row]) -> None:
    """Draw a bar for the rate of each engine, set-up included, with the graphs side by side."""
    from support import plots

    graphs = list(dict.fromkeys(row.graph for row in rows))
    num_engines = len(rows) // len(graphs)
    figure, all_axes = plots.new_figure(len(graphs), height=0.3 * num_engines + 1, share_axes=True)
    for axes, graph in zip(all_axes, graphs, strict=True):
        of_graph = [row for row in rows if row.graph == graph]
        bars = axes.barh(
            [row.engine for row in of_graph],
            [max(row.hops_per_second_in_all, LEAST_RATE) for row in of_graph],
            color=[_colour(row) for row in of_graph],
        )
        axes.bar_label(bars, [_label(row) for row in of_graph], padding=3, fontsize="small")
        axes.set_xscale("log")
        axes.set_xlim(LEAST_RATE, MOST_RATE)
        axes.set_title(graph)
        axes.set_xlabel("hops/s, set-up included")
    all_axes[0].invert_yaxis()
    plots.save(figure, "peers")


def _colour(row: Row) -> str:
    if row.engine == "phew":
        return "tab:orange"
    return "tab:blue" if row.follows_weights else "tab:gray"


def _label(row: Row) -> str:
    if row.failure is not None:
        return "none"
    rate = f"{millions(row.hops_per_second_in_all)} M"
    return rate if row.follows_weights else f"{rate}, unweighted"


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables, plot).main()
