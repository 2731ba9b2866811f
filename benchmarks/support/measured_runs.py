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
    """The masks of a method, and medians over its runs.

    Attributes:
        masks: Masks by parameter name.
        num_walks: The number of walks whose visits the masks are.
        num_hops: The hops of these walks over weighted links.
        seconds: The median seconds of a run, capture included.
        capture_seconds: The median seconds of capture.
        peak_memory: The most bytes in use, beyond those in use with the network built.
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
    method(*build_network("lenet5"), 0.001)  # a first call imports and compiles
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
