"""Seconds and peak memory of a method, in a process of its own."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from support.graphs import build_network
from support.machine import peak_memory
from support.methods import Method, count_hops
from support.processes import in_fresh_process


@dataclass(frozen=True)
class Measurement:
    """What a method found, and medians over its runs.

    Attributes:
        masks: Masks by parameter name.
        num_walks: Walks whose visits the masks are.
        num_hops: Hops of these walks over weighted links.
        seconds: Median seconds in all.
        capture_seconds: Median seconds of these in capture.
        peak_memory: Bytes at most in use beyond those in use with the network built.
    """

    masks: dict[str, npt.NDArray[np.bool_]]
    num_walks: int
    num_hops: int
    seconds: float
    capture_seconds: float
    peak_memory: int


def measure(method: Method, network: str, density: float, *, repetitions: int) -> Measurement:
    """Measure a method in a fresh process, whose memory holds nothing of other measurements."""
    return in_fresh_process(_measure, method, network, density, repetitions)


def _measure(method: Method, name: str, density: float, repetitions: int) -> Measurement:
    network, example_input = build_network(name)
    method(*build_network("lenet5"), 0.001)  # leaves out what only a first call does
    before = peak_memory()
    runs = [method(network, example_input, density)]
    peak = peak_memory() - before
    runs += [method(network, example_input, density) for _ in range(repetitions - 1)]
    return Measurement(
        masks={name: mask.numpy() for name, mask in runs[0].masks.items()},
        num_walks=runs[0].num_walks,
        num_hops=count_hops(network, example_input, runs[0].num_walks),
        seconds=statistics.median(run.seconds for run in runs),
        capture_seconds=statistics.median(run.capture_seconds for run in runs),
        peak_memory=peak,
    )
