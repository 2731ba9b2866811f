"""How much faster is the engine than plain Python, and than vectorised PyTorch?

Plain Python is `phew.reference`, the specification, whose masks the engine must equal bit for bit.
Vectorised PyTorch is `pytorch_walks`, which draws other random numbers: layer densities and number
of walks must agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from rivals.pytorch_walks import run_pytorch
from support.markdown import significant, table
from support.measured_runs import Measurement
from support.measured_runs import measure as measure_method
from support.methods import run_engine, run_reference, run_walks, time_training_step
from support.processes import in_fresh_process
from support.suite import Benchmark


@dataclass(frozen=True)
class Case:
    """A network and the methods that the engine is compared with on it."""

    network: str
    reference: bool = False
    pytorch: bool = False
    training: bool = False
    density: float = 0.1
    repetitions: int = 5


DENSITIES = (0.5, 0.1, 0.01)
CASES = (
    *(Case("lenet5", reference=True, pytorch=True, density=each) for each in DENSITIES),
    *(Case("lenet_300_100", reference=True, pytorch=True, density=each) for each in DENSITIES),
    *(Case("resnet20", reference=True, density=each) for each in DENSITIES),
    # The reference would take minutes and 8 GiB on this network.
    *(Case("vgg19_bn", reference=each < 0.1, pytorch=True, density=each) for each in DENSITIES),
    *(Case("resnet50", training=each == 0.1, density=each) for each in DENSITIES),
)
QUICK = (Case("lenet5", reference=True, pytorch=True, density=0.02, repetitions=1),)
TRAINING_BATCH = 32


class Recorded(NamedTuple):
    """The time that the authors' published loop took on another machine."""

    network: str
    num_walks: int
    table_seconds: float
    walk_seconds: float


RECORDED = (
    Recorded("lenet5", 2_252, 1.8, 0.70),
    Recorded("lenet_300_100", 15_550, 19.6, 3.8),
    Recorded("resnet20", 2_070, 0.5, 2.7),
    Recorded("vgg19_bn", 171_742, 135, 1_148),
)


@dataclass(frozen=True)
class Row:
    """A measurement beside the engine's. Hops per second leave capture out."""

    network: str
    method: str
    num_threads: int
    num_weights: int
    density: float
    num_walks: int
    num_hops: int
    hops_per_second: float
    seconds: float
    capture_seconds: float
    ratio: float
    ratio_without_capture: float
    peak_memory: int


def compare(case: Case) -> Iterator[Row]:
    """Measure all methods on a network, and check that they find the same."""
    measure_case = partial(
        measure_method, network=case.network, density=case.density, repetitions=case.repetitions
    )
    max_threads = torch.get_num_threads()
    engine = measure_case(run_engine)
    row = partial(make_row, case, engine)
    yield row(engine, "engine", max_threads)
    for num_threads in sorted({1, max_threads}, reverse=True):
        walks = measure_case(
            partial(run_walks, num_walks=engine.num_walks, num_threads=num_threads)
        )
        check_equal(walks, engine)
        yield row(walks, "engine, walks alone", num_threads)
    if case.reference:
        reference = measure_case(run_reference, repetitions=1)
        check_equal(reference, engine)
        yield row(reference, "reference", 1)
    if case.pytorch:
        pytorch = measure_case(run_pytorch)
        check_alike(pytorch, engine)
        yield row(pytorch, "PyTorch", max_threads)
    if case.training:
        seconds = in_fresh_process(time_training_step, case.network, TRAINING_BATCH)
        step = Measurement({}, 0, 0, seconds, 0.0, 0)
        yield row(step, f"training step of {TRAINING_BATCH}", max_threads)


def make_row(
    case: Case, engine: Measurement, measured: Measurement, method: str, num_threads: int
) -> Row:
    walking_seconds = measured.seconds - measured.capture_seconds
    return Row(
        network=case.network,
        method=method,
        num_threads=num_threads,
        num_weights=sum(mask.size for mask in measured.masks.values()),
        density=case.density,
        num_walks=measured.num_walks,
        num_hops=measured.num_hops,
        hops_per_second=measured.num_hops / walking_seconds,
        seconds=measured.seconds,
        capture_seconds=measured.capture_seconds,
        ratio=measured.seconds / engine.seconds,
        ratio_without_capture=walking_seconds / (engine.seconds - engine.capture_seconds),
        peak_memory=measured.peak_memory,
    )


def check_equal(measured: Measurement, engine: Measurement) -> None:
    assert measured.num_walks == engine.num_walks
    assert measured.masks.keys() == engine.masks.keys()
    for name, mask in engine.masks.items():
        assert np.array_equal(measured.masks[name], mask), name


def check_alike(measured: Measurement, engine: Measurement) -> None:
    """Check that layer densities and number of walks are within five standard errors.

    The errors are those of independent visits. Visits vary less, because a walk takes one edge
    of a unit.
    """
    assert measured.masks.keys() == engine.masks.keys()
    for name, mask in engine.masks.items():
        densities = measured.masks[name].mean(), mask.mean()
        mean = sum(densities) / 2
        error = math.sqrt(2 * mean * (1 - mean) / mask.size)
        assert abs(densities[0] - densities[1]) <= 5 * error, (name, *densities)
    num_kept = sum(np.count_nonzero(mask) for mask in engine.masks.values())
    ratio = measured.num_walks / engine.num_walks
    assert abs(ratio - 1) <= 5 * math.sqrt(2 / num_kept), ratio


NOTES = """\
- *engine* is `phew.sample_masks` in all. *Walks alone* is the engine told how many walks to make:
  it measures the weights, builds the tables, walks and marks.
- *reference* is `phew.reference`, run once. Its masks equal the engine's bit for bit. On vgg19_bn
  it takes minutes and 8 GiB, so that it runs at density 0.01 alone, and not on resnet50.
- *PyTorch* moves all walkers of a direction together, with one `searchsorted` a layer. Layer
  densities and number of walks agree with the engine's to within five standard errors. It is
  written for chains: there is nothing to capture, and no ResNet.
- *training step* is one of SGD, forward and backward, with a batch of so many images of 224 x 224
  pixels.
- *ratio* is the seconds over the engine's, in all and without capture. Hops are those over weights,
  and their number per second leaves capture out. *Peak MiB* is what was in use at most beyond what
  was in use with the network built. What only the first call in a process does is left out."""

RECORDED_NOTE = """\
The authors' published loop (ShreyasMalakarjunPatil/PHEW, c4a0d40, one thread) at density 0.1, as
recorded elsewhere: not measured here, so no ratio to the above is exact. Its walking on vgg19_bn is
extrapolated from 909 walks."""


def measure(quick: bool) -> Iterator[Row]:
    for case in QUICK if quick else CASES:
        yield from compare(case)


def tables(rows: Sequence[Row]) -> str:
    measured = table(
        (
            *("network", "method", "threads", "weights", "density", "walks", "hops", "hops/s"),
            *("seconds", "of it capture", "ratio", "without capture", "peak MiB"),
        ),
        [
            (
                row.network,
                row.method,
                f"{row.num_threads}",
                f"{row.num_weights:,}",
                f"{row.density:g}",
                f"{row.num_walks:,}",
                f"{row.num_hops:,}",
                f"{row.hops_per_second:,.0f}",
                significant(row.seconds),
                significant(row.capture_seconds) if row.capture_seconds else "",
                significant(row.ratio),
                significant(row.ratio_without_capture),
                f"{row.peak_memory / 2**20:,.0f}",
            )
            for row in rows
        ],
    )
    recorded = table(
        ("network", "where", "walks", "seconds of tables", "seconds of walking"),
        [
            (
                record.network,
                "recorded elsewhere",
                f"{record.num_walks:,}",
                f"{record.table_seconds:g}",
                f"{record.walk_seconds:,g}",
            )
            for record in RECORDED
        ],
    )
    return "\n\n".join((measured, NOTES, RECORDED_NOTE, recorded))


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
