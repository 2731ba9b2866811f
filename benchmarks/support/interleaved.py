"""Ways to compute the same, timed in turns: whatever else the machine does meets them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

MIN_TURN_SECONDS = 2e-3
"""A turn repeats calls that are shorter, because clocks and the first touch of memory cost time."""

MIN_ROUNDS, MAX_ROUNDS = 3, 25


@dataclass(frozen=True)
class Timing:
    """How long a way takes.

    Attributes:
        seconds: The median seconds of a call.
        gain: The median over all rounds of the baseline's seconds over those of this way.
    """

    seconds: float
    gain: float


def time_in_turns(
    ways: Mapping[str, Callable[[], object]], baseline: str, *, seconds: float
) -> dict[str, Timing]:
    """Time ways in rounds, each of which gives each way a turn.

    Args:
        ways: The functions, by name.
        baseline: The name of the one that the others are compared with.
        seconds: About how long to measure; the rounds are at least three.

    Returns:
        The timing of each way.
    """
    num_calls = {}
    for name, function in ways.items():
        function()
        once = _seconds(function, 1)
        num_calls[name] = max(1, min(1000, round(MIN_TURN_SECONDS / once)))
    rounds: list[dict[str, float]] = []
    started = time.perf_counter()
    while len(rounds) < MIN_ROUNDS or (
        len(rounds) < MAX_ROUNDS and time.perf_counter() - started < seconds
    ):
        # Every other round is the other way round, so that no way always follows the same one.
        order = list(ways)[:: 1 if len(rounds) % 2 else -1]
        rounds.append({name: _seconds(ways[name], num_calls[name]) for name in order})
    return {
        name: Timing(
            statistics.median(each[name] for each in rounds),
            statistics.median(each[baseline] / each[name] for each in rounds),
        )
        for name in ways
    }


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch, and libraries that have OpenMP of their own, use so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(number):
            yield
    finally:
        torch.set_num_threads(before)


def _seconds(function: Callable[[], object], num_calls: int) -> float:
    started = time.perf_counter()
    for _ in range(num_calls):
        function()
    return (time.perf_counter() - started) / num_calls
