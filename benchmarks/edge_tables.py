"""How fast are weights measured and turned into tables, beside reading memory?

Tables are thrown away as soon as walkers have drawn from them, so they are timed by walks that are
few, but stand on practically every unit of every layer.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from bound import bytes_read_per_second
from support.graphs import GRAPHS, QUICK_GRAPHS, build_graph
from support.machine import median_seconds, numbers_of_threads
from support.markdown import millions, significant, table
from support.processes import in_fresh_process
from support.suite import Benchmark
from support.timed_engine import Walks, empty_visits, most_units
from torch import Tensor

from phew.graph import WalkGraph

WALKS_PER_UNIT = 16
"""Walks of each direction for each unit of the largest layer. If walkers choose units
independently, a share of e^-16 of the units has none."""

WEIGHT_BYTES = 4


@dataclass(frozen=True)
class Row:
    """The medians of three runs, which follow one that is not timed.

    Attributes:
        num_weights: Weights that are read once when measured, and once in each direction when
            walked.
        measured_per_second: Weights measured per second.
        tabled_per_second: Weights turned into tables per second, both directions counted.
        bytes_read_per_second: The speed of reading memory.
        measured_share: The speed at which measuring reads weights, over that of reading memory.
        tabled_share: The speed at which tables read weights, over that of reading memory.
    """

    graph: str
    num_threads: int
    num_weights: int
    num_walks: int
    num_hops: int
    measuring_seconds: float
    walking_seconds: float
    measured_per_second: float
    tabled_per_second: float
    bytes_read_per_second: float
    measured_share: float
    tabled_share: float


@dataclass(frozen=True)
class Timed:
    num_threads: int
    num_weights: int
    num_walks: int
    num_hops: int
    measuring_seconds: float
    walking_seconds: float


def measure(quick: bool) -> Iterator[Row]:
    speeds = {number: bytes_read_per_second(number, quick=quick) for number in numbers_of_threads()}
    # The smallest graph is left out, because its tables take no time beside the hops.
    for graph in QUICK_GRAPHS if quick else GRAPHS[1:]:
        for timed in in_fresh_process(time_tables, graph):
            speed = speeds[timed.num_threads]
            measured = timed.num_weights / timed.measuring_seconds
            tabled = 2 * timed.num_weights / timed.walking_seconds
            yield Row(
                graph,
                timed.num_threads,
                timed.num_weights,
                timed.num_walks,
                timed.num_hops,
                timed.measuring_seconds,
                timed.walking_seconds,
                measured,
                tabled,
                speed,
                WEIGHT_BYTES * measured / speed,
                WEIGHT_BYTES * tabled / speed,
            )


def time_tables(name: str) -> list[Timed]:
    """Time the tables of a graph with one thread and with all, in a process of its own."""
    graph = build_graph(name)
    num_walks = 2 * WALKS_PER_UNIT * most_units(graph)
    visited = empty_visits(graph, torch.bool)
    return [_time_walks(graph, num_walks, visited, number) for number in numbers_of_threads()]


def _time_walks(
    graph: WalkGraph, num_walks: int, visited: dict[str, Tensor], num_threads: int
) -> Timed:
    walks = Walks(graph, num_threads=num_threads)
    num_hops = walks.count_hops(num_walks)
    walks.mark(num_walks, visited)
    measuring = [Walks(graph, num_threads=num_threads).measuring_seconds for _ in range(3)]
    walking = median_seconds(lambda: walks.mark(num_walks, visited))
    return Timed(
        num_threads,
        graph.num_prunable_weights,
        num_walks,
        num_hops,
        statistics.median(measuring),
        walking,
    )


NOTES = f"""\
- *Measured* is finding the range of all weights once, with the making of the engine around it.
- *Tabled* is {WALKS_PER_UNIT} walks of each direction for each unit of the largest layer: weights,
  counted once for each direction, over the seconds of walking. The hops themselves are in it, so it
  is less than what tables alone would give.
- *Of memory* is {WEIGHT_BYTES} bytes per weight, over the speed at which as many threads read
  memory from one end to the other in the same run. Medians of three runs, after one more."""


def tables(rows: Sequence[Row]) -> str:
    header = (
        *("graph", "threads", "weights", "walks", "hops", "million measured/s", "of memory"),
        *("million tabled/s", "of memory", "memory GB/s"),
    )
    cells = [
        (
            row.graph,
            f"{row.num_threads}",
            f"{row.num_weights:,}",
            f"{row.num_walks:,}",
            f"{row.num_hops:,}",
            millions(row.measured_per_second),
            f"{row.measured_share:.0%}",
            millions(row.tabled_per_second),
            f"{row.tabled_share:.0%}",
            significant(row.bytes_read_per_second / 1e9),
        )
        for row in rows
    ]
    return "\n\n".join((table(header, cells, num_words=1), NOTES))


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
