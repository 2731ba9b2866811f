"""When is a sparse layer or network faster than the dense one, and than what others make of it?

Layers and networks are run, and trained by whole steps, beside dense ones of float32 and bfloat16,
and whatever is installed of other packages. Results must equal the dense ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from rivals.sparse_inference import DENSE, PHEW, PHEW_COMPILED, PHEW_SPARSE, WAYS, version_of
from rivals.sparse_networks import (
    ConvShape,
    Masked,
    linear,
    masked,
    masked_layer,
    masked_networks,
)
from rivals.sparse_training import HELD, TRAINED, mlp, training_step
from sparse_tables import LAYER, NETWORK, TRAINING, Row, plot, tables
from support.interleaved import threads, time_in_turns
from support.suite import Benchmark
from torch import Tensor, nn

import phew
from phew.models import NETWORKS

NUMS_THREADS = (1, 2)
DENSITIES = (0.5, 0.25, 0.1, 0.05, 0.02, 0.01)
COMPARED_DENSITIES = (0.1, 0.02)
NETWORK_DENSITIES = (0.1, 0.02, 0.01)
"""The densities at which layers, and training, go in all ways, and those of networks."""

OWN_WAYS = (DENSE, PHEW, PHEW_SPARSE)
LINEAR_WAYS = tuple(way for way in WAYS if way != PHEW_COMPILED)
RUNTIMES = (DENSE, PHEW, PHEW_COMPILED, "dense bfloat16", "ONNX Runtime", "OpenVINO", "DeepSparse")

CONVS = (
    ConvShape(64, 64, 3, 56),
    ConvShape(128, 128, 3, 28),
    ConvShape(512, 128, 1, 28),
    ConvShape(256, 256, 3, 14),
)
"""Four of ResNet-50's convolutions."""

T = TypeVar("T")

MAX_LOSS_ERROR = 1e-4
MAX_MESSAGE = 100
"""So many characters of an exception's message are told."""


@dataclass(frozen=True)
class Size:
    """How much is measured, and how long each comparison may take."""

    linear_size: int = 4096
    batches: tuple[int, ...] = (1, 4, 16, 64, 256)
    compared_batches: tuple[int, ...] = (1, 64)
    convs: tuple[ConvShape, ...] = CONVS
    conv_batches: tuple[int, ...] = (1, 16)
    densities: tuple[float, ...] = DENSITIES
    nums_threads: tuple[int, ...] = NUMS_THREADS
    networks: tuple[str, ...] = (
        *("ResNet-50", "VGG-19", "ResNet-20", "ViT-B/16"),
        *("Llama block, 1 token", "Llama block, 16 tokens"),
    )
    mlp_size: int = 2048
    training_batches: tuple[int, ...] = (16, 128)
    optimizers: tuple[str, ...] = ("SGD", "AdamW")
    trained_network: str | None = "resnet20"
    layer_seconds: float = 0.4
    network_seconds: float = 3.0


FULL = Size()
QUICK = Size(
    linear_size=64,
    batches=(1, 16),
    compared_batches=(16,),
    convs=(ConvShape(4, 8, 3, 6),),
    conv_batches=(1,),
    densities=(0.5, 0.1),
    nums_threads=(1,),
    networks=("LeNet-300-100",),
    mlp_size=32,
    training_batches=(8,),
    trained_network=None,
    layer_seconds=0.0,
    network_seconds=0.0,
)


def measure(quick: bool) -> Iterator[Row]:
    size = QUICK if quick else FULL
    yield from _measure_layers(size)
    yield from _measure_networks(size)
    yield from _measure_training(size)


def _measure_layers(size: Size) -> Iterator[Row]:
    build: Callable[[], tuple[nn.Module, Tensor]]
    name = f"Linear {size.linear_size} x {size.linear_size}"
    subjects = [(name, lambda: linear(size.linear_size), size.batches, size.compared_batches)]
    subjects += [(conv.name, conv.build, size.conv_batches, ()) for conv in size.convs]
    for subject, build, batches, compared_batches in subjects:
        layer, example = build()
        for density in size.densities:
            problem = masked_layer(layer, density, example)
            for batch, number in itertools.product(batches, size.nums_threads):
                compared = batch in compared_batches and density in COMPARED_DENSITIES
                row = Row(LAYER, subject, batch, density, number)
                ways = LINEAR_WAYS if compared else OWN_WAYS
                yield from compare(row, problem.with_batch(batch), ways, size.layer_seconds)


def _measure_networks(size: Size) -> Iterator[Row]:
    for name in size.networks:
        problems = masked_networks(name, NETWORK_DENSITIES)
        for (density, problem), number in itertools.product(problems.items(), size.nums_threads):
            report = phew.to_sparse(problem.copy(), problem.masks, example_inputs=problem.example)
            total = report.total
            assert total.num_operations is not None
            assert total.num_dense_operations is not None
            share = total.num_operations / total.num_dense_operations
            row = Row(NETWORK, name, 1, density, number, share)
            yield from compare(row, problem, RUNTIMES, size.network_seconds)


def _measure_training(size: Size) -> Iterator[Row]:
    example = torch.zeros(1, size.mlp_size)
    model = mlp(size.mlp_size)
    masks = {each: phew.sample_masks(model, example, density=each) for each in COMPARED_DENSITIES}
    for optimizer, batch, density, number in itertools.product(
        size.optimizers, size.training_batches, COMPARED_DENSITIES, size.nums_threads
    ):
        subject = f"MLP of 3 x {size.mlp_size}, {optimizer}"
        row = Row(TRAINING, subject, batch, density, number)
        problem = masked(model, masks[density], example).with_batch(batch)
        yield from compare_training(row, problem, optimizer, tuple(TRAINED), size.network_seconds)
    if size.trained_network is not None:
        network = NETWORKS[size.trained_network]
        example = torch.zeros(1, *network.input_shape)
        torch.manual_seed(0)
        model, density = network.build(), 0.05
        problem = masked(model, phew.sample_masks(model, example, density=density), example)
        for number in size.nums_threads:
            row = Row(TRAINING, "ResNet-20, SGD", 128, density, number)
            ways = (DENSE, HELD, PHEW)
            yield from compare_training(
                row, problem.with_batch(128), "SGD", ways, size.network_seconds
            )


def compare(row: Row, problem: Masked, names: Sequence[str], seconds: float) -> list[Row]:
    """Run a layer or network in several ways, in turns, and check that they agree."""
    with torch.no_grad(), threads(row.num_threads):
        expected = problem.model(problem.example)

        def prepare(name: str) -> tuple[Callable[[], Tensor], float]:
            run = WAYS[name].prepare(problem, row.num_threads)
            error = relative_error(run(), expected)
            assert error <= WAYS[name].tolerance, f"{name}: an error of {error:.2g}"
            return run, error

        return _timed(
            [_prepared(replace(row, way=name), WAYS[name].package, prepare) for name in names],
            seconds,
        )


def compare_training(
    row: Row, problem: Masked, optimizer: str, names: Sequence[str], seconds: float
) -> list[Row]:
    """Train a network in several ways, in turns, and check that they lose as much."""
    with threads(row.num_threads):
        expected = _second_loss(training_step(HELD, problem, optimizer))

        def prepare(name: str) -> tuple[Callable[[], float], float]:
            step = training_step(name, problem, optimizer)
            loss = _second_loss(step)
            error = 0.0 if name == DENSE else abs(loss - expected) / abs(expected)
            assert error <= MAX_LOSS_ERROR, f"{name}: an error of {error:.2g}"
            return step, error

        return _timed(
            [_prepared(replace(row, way=name), TRAINED[name][0], prepare) for name in names],
            seconds,
        )


def _second_loss(step: Callable[[], float]) -> float:
    """Return the loss after an update; the first one is that of the same weights."""
    step()
    return step()


def relative_error(output: Tensor, expected: Tensor) -> float:
    """Return the largest difference over the largest number that is expected."""
    difference = (output.float() - expected).abs().max() / expected.abs().max()
    return float(difference)


def _prepared(
    row: Row, package: str, prepare: Callable[[str], tuple[Callable[[], T], float]]
) -> tuple[Row, Callable[[], T] | None]:
    """Make and check the function of a way, or say in its row why there is none."""
    version = version_of(package) if package else ""
    if version is None:
        return replace(row, failure="not installed"), None
    row = replace(row, version=version)
    try:
        run, error = prepare(row.way)
    except Exception as failure:
        if not package:
            raise
        # Whatever other packages raise is a row of the results.
        message = " ".join(str(failure).split())[:MAX_MESSAGE]
        return replace(row, failure=f"{type(failure).__name__}: {message}"), None
    return replace(row, error=error), run


def _timed(
    prepared: Sequence[tuple[Row, Callable[[], object] | None]], seconds: float
) -> list[Row]:
    runs = {row.way: run for row, run in prepared if run is not None}
    timings = time_in_turns(runs, DENSE, seconds=seconds)
    return [
        replace(row, seconds=timings[row.way].seconds, gain=timings[row.way].gain)
        if row.way in timings
        else row
        for row, _ in prepared
    ]


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables, plot).main()
