"""What do two processes gain that share the walks, and what do they send to each other?"""

from __future__ import annotations

import multiprocessing
import pickle
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from unittest import mock

import torch
from support.graphs import build_network
from support.markdown import significant, table
from support.suite import Benchmark
from torch import Tensor
from torch import distributed as dist
from torch.distributed import distributed_c10d

import phew

NUM_RANKS = 2
CASES = (("vgg19_bn", (0.1, 0.5, 0.87, 0.95)), ("resnet50", (0.1, 0.5)))
QUICK = (("lenet5", (0.1,)),)
REPETITIONS = 5
ROUNDS = 3


class Call(NamedTuple):
    """The seconds that calls of a rank took, with one thread each, and the bytes that one sent."""

    num_weights: int
    num_walks: int
    seconds: float
    sent: Counter[str]


@dataclass(frozen=True)
class Row:
    """A network that one process prunes, and several together. Bytes are those of one rank."""

    network: str
    num_weights: int
    density: float
    num_walks: int
    num_ranks: int
    seconds_alone: float
    seconds: float
    bytes_of_marks: int
    bytes_of_visits: int
    bytes_of_others: int


def measure(quick: bool) -> Iterator[Row]:
    for network, densities in QUICK if quick else CASES:
        for density in densities:
            yield measure_network(network, density, *((1, 1) if quick else (ROUNDS, REPETITIONS)))


def measure_network(network: str, density: float, rounds: int, repetitions: int) -> Row:
    """Measure one process and several in turn, and take the fastest round of each."""
    turns = [
        [call_ranks(number, network, density, repetitions) for number in (1, NUM_RANKS)]
        for _ in range(rounds)
    ]
    alone, together = (
        min(calls, key=lambda call: call.seconds) for calls in zip(*turns, strict=True)
    )
    assert together.num_walks == alone.num_walks
    marks, visits = together.sent["marks"], together.sent["visits"]
    return Row(
        network=network,
        num_weights=alone.num_weights,
        density=density,
        num_walks=alone.num_walks,
        num_ranks=NUM_RANKS,
        seconds_alone=alone.seconds,
        seconds=together.seconds,
        bytes_of_marks=marks,
        bytes_of_visits=visits,
        bytes_of_others=together.sent.total() - marks - visits,
    )


def call_ranks(num_ranks: int, network: str, density: float, repetitions: int) -> Call:
    """Return the measurement of the first of some ranks."""
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(num_ranks, mp_context=context) as executor,
    ):
        arguments = (num_ranks, f"file://{folder}/meeting", network, density, repetitions)
        calls = [executor.submit(run, rank, *arguments) for rank in range(num_ranks)]
        return calls[0].result()


def run(
    rank: int, num_ranks: int, meeting: str, network: str, density: float, repetitions: int
) -> Call:
    """Prune as one of some ranks, in one thread."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num_ranks)
    group = dist.group.WORLD if num_ranks > 1 else None
    torch.manual_seed(0)
    graph = phew.capture(*build_network(network))
    seconds = []
    with counted_bytes() as sent:
        masks = phew.sample_masks(graph, density=density, num_threads=1, group=group)
    for _ in range(repetitions):
        dist.barrier()
        started = time.perf_counter()
        phew.sample_masks(graph, density=density, num_threads=1, group=group)
        seconds.append(time.perf_counter() - started)
    dist.destroy_process_group()
    return Call(masks.num_weights, int(masks.info["num_walks"]), statistics.median(seconds), sent)


@contextmanager
def counted_bytes() -> Iterator[Counter[str]]:
    """Count the bytes that this rank gives to collectives: marks, listed visits, and others."""
    sent: Counter[str] = Counter()

    def counted(module: Any, name: str, kind: str, size: Callable[..., int]) -> Any:
        call = getattr(module, name)

        def count(*arguments: Any, **keywords: Any) -> Any:
            num_bytes = size(*arguments)
            sent[kind if num_bytes > 1 else "status"] += num_bytes
            return call(*arguments, **keywords)

        return mock.patch.object(module, name, count)

    def size_to_reduce(tensor: Tensor, *_: Any) -> int:
        return tensor.nbytes

    def size_to_gather(_: list[Tensor], tensor: Tensor, *__: Any) -> int:
        return tensor.nbytes

    def size_to_broadcast(objects: list[Any], source: int, *_: Any) -> int:
        return len(pickle.dumps(objects[0])) if source == dist.get_rank() else 0

    with ExitStack() as stack:
        for module, name, kind, size in (
            (dist, "all_reduce", "marks", size_to_reduce),
            (dist, "all_gather", "visits", size_to_gather),
            # Objects are gathered by these two functions.
            (distributed_c10d, "all_gather", "objects", size_to_gather),
            (dist, "broadcast_object_list", "objects", size_to_broadcast),
        ):
            stack.enter_context(counted(module, name, kind, size))
        yield sent


NOTES = """\
- All of `sample_masks` but capture, a thread a process, gloo over the loopback device: medians of
  five calls, the better of three rounds in which one process and two took turns.
- Bytes are what a rank hands to collectives: marks to an all-reduce, which as a ring of R ranks
  sends 2 (R - 1) / R of it, the least for that many bits; listed visits to an all-gather; others
  are the flow of a direction, what ranks compare, and a byte of status before each exchange.
  *Bound* is a bit for each prunable weight."""


def tables(rows: Sequence[Row]) -> str:
    header = (
        *("network", "density", "weights", "walks", "one process, s", "two, s", "times as fast"),
        *("marks, bytes", "bound", "visits, bytes", "others, bytes"),
    )
    body = [
        (
            row.network,
            f"{row.density:.0%}",
            f"{row.num_weights:,}",
            f"{row.num_walks:,}",
            significant(row.seconds_alone),
            significant(row.seconds),
            significant(row.seconds_alone / row.seconds),
            f"{row.bytes_of_marks:,}",
            f"{-(-row.num_weights // 8):,}",
            f"{row.bytes_of_visits:,}",
            f"{row.bytes_of_others:,}",
        )
        for row in rows
    ]
    return "\n\n".join((table(header, body, num_words=1), NOTES))


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
