"""How many hops per second does the engine make, and how near is that to the bound?

Beside each rate stands its share of the bound for the same instruction set and threads (`bound`).
All instruction sets and numbers of threads must visit the same weights.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from bound import best_hops_per_second
from support.graphs import GRAPHS, QUICK_GRAPHS, build_graph
from support.machine import numbers_of_threads
from support.markdown import millions, significant, table
from support.processes import with_environment
from support.suite import Benchmark
from support.timed_engine import Walks, checksum, empty_visits
from torch import Tensor

from phew._core import instruction_sets

NUMS_WALKS = (100_000, 1_000_000, 10_000_000)
QUICK_NUMS_WALKS = (100_000,)
NUM_WALKS_OF_SLOWER_SETS = 1_000_000

MAX_REPETITIONS = 5
ENOUGH_SECONDS = 1.0


@dataclass(frozen=True)
class Row:
    """The rate of the best of up to five runs.

    Attributes:
        digest: A checksum of the marks.
        share_of_bound: The rate over that of `bound`.
    """

    graph: str
    instruction_set: str
    num_threads: int
    num_walks: int
    num_hops: int
    num_visited: int
    digest: int
    seconds: float
    hops_per_second: float
    share_of_bound: float


@dataclass(frozen=True)
class Timed:
    num_threads: int
    num_walks: int
    num_hops: int
    num_visited: int
    digest: int
    seconds: float


def measure(quick: bool) -> Iterator[Row]:
    sets = instruction_sets()
    bounds = {
        (name, num_threads): best_hops_per_second(name, num_threads, quick=quick)
        for name in sets
        for num_threads in numbers_of_threads()
    }
    for graph in QUICK_GRAPHS if quick else GRAPHS:
        visits: dict[int, tuple[int, int]] = {}
        for name in reversed(sets):
            nums_walks = QUICK_NUMS_WALKS if quick else NUMS_WALKS
            if name != sets[-1] and not quick:
                nums_walks = (NUM_WALKS_OF_SLOWER_SETS,)
            environment = {"PHEW_INSTRUCTION_SET": name}
            for timed in with_environment(environment, time_walks, graph, nums_walks):
                found = timed.num_visited, timed.digest
                assert visits.setdefault(timed.num_walks, found) == found, (graph, name, timed)
                rate = timed.num_hops / timed.seconds
                yield Row(
                    graph,
                    name,
                    timed.num_threads,
                    timed.num_walks,
                    timed.num_hops,
                    *found,
                    timed.seconds,
                    rate,
                    rate / bounds[name, timed.num_threads],
                )


def time_walks(name: str, nums_walks: Sequence[int]) -> list[Timed]:
    """Walk on a graph with one thread and with all, in a process of its own."""
    graph = build_graph(name)
    engines = {number: Walks(graph, num_threads=number) for number in numbers_of_threads()}
    num_hops = {num: engines[1].count_hops(num) for num in nums_walks}
    visited = empty_visits(graph, torch.bool)
    timed = []
    for num_walks, (num_threads, walks) in itertools.product(nums_walks, engines.items()):
        seconds: list[float] = []
        while len(seconds) < MAX_REPETITIONS and sum(seconds) < ENOUGH_SECONDS:
            for marks in visited.values():
                marks.zero_()
            started = time.perf_counter()
            walks.mark(num_walks, visited)
            seconds.append(time.perf_counter() - started)
        timed.append(
            Timed(num_threads, num_walks, num_hops[num_walks], *_digest(visited), min(seconds))
        )
    return timed


def _digest(visited: Mapping[str, Tensor]) -> tuple[int, int]:
    """Return the number of marks, and a checksum of where they are."""
    return sum(int(marks.count_nonzero()) for marks in visited.values()), checksum(visited)


NOTES = """\
- A walk's seconds have everything in them but measuring the weights: the tables of both directions,
  the hops, channel, kernel position and mark. So few walks are mostly tables (see `edge_tables`).
- Hops are those over weights. Forward and backward walks alternate. Best of up to five runs, with
  all marks cleared before each.
- `PHEW_INSTRUCTION_SET` chooses the instructions, in a process of its own; but for the best, with a
  million walks alone. *Of the bound* is the share of the best case of a hop, with rows of 1,024."""


def tables(rows: Sequence[Row]) -> str:
    header = (
        *("graph", "instructions", "threads", "walks", "hops", "weights visited"),
        *("seconds", "million hops/s", "of the bound"),
    )
    cells = [
        (
            row.graph,
            row.instruction_set,
            f"{row.num_threads}",
            f"{row.num_walks:,}",
            f"{row.num_hops:,}",
            f"{row.num_visited:,}",
            significant(row.seconds),
            millions(row.hops_per_second),
            f"{row.share_of_bound:.0%}",
        )
        for row in rows
    ]
    return "\n\n".join((table(header, cells), NOTES))


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
