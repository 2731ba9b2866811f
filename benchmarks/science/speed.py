"""How long networks of several forms train until they have an accuracy."""

from __future__ import annotations

import bisect
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from support.processes import in_fresh_process
from torch import nn

import phew
from science.data import DataSet, load
from science.networks import num_prunable, perceptron
from science.training import Protocol, accuracy, epochs

Form: TypeAlias = Literal["dense", "held", "sparse", "small"]


@dataclass(frozen=True)
class Speed:
    """Train a perceptron of three hidden layers until it has an accuracy, with all threads.

    Attributes:
        form: "dense"; "held", dense under PHEW's masks; "sparse", by `phew.to_sparse`; or "small",
            a narrower dense one, of at most as many weights as the masks keep.
        width: The number of units of each hidden layer.
        density: Kept / prunable weights, or 1 for a dense network.
        accuracy: The share of test examples that must be classified rightly after an epoch.
        num_epochs: The epochs after which the training has failed.
    """

    data: str
    form: Form
    width: int
    density: float
    seed: int
    accuracy: float
    num_epochs: int

    def run(self, folder: Path) -> dict[str, Any]:
        return in_fresh_process(_time_to_accuracy, self, folder)


class Stopwatch:
    """The time that passed within `with` statements.

    Attributes:
        seconds: On the clock.
        processor_seconds: The sum over all threads.
    """

    def __init__(self) -> None:
        self.seconds = self.processor_seconds = 0.0

    def __enter__(self) -> None:
        self.seconds -= time.perf_counter()
        self.processor_seconds -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()
        self.processor_seconds += time.process_time()


def _time_to_accuracy(job: Speed, folder: Path) -> dict[str, Any]:
    """Return the epochs, or None if too many, and the time without that of tests."""
    data = load(job.data, folder)
    _warm_up(data)
    width = width_of_small(data, job) if job.form == "small" else job.width
    network = _build(data, width, job.seed)
    watch = Stopwatch()
    with watch:
        if job.form in ("held", "sparse"):
            masks = phew.sample_masks(network, data.example, density=job.density, seed=job.seed)
            if job.form == "held":
                masks.apply(network, rescale="auto")
            else:
                phew.to_sparse(network, masks, rescale="auto")
        training = epochs(network, data, Protocol(job.num_epochs), job.seed)
    reached = None
    for epoch in range(1, job.num_epochs + 1):
        with watch:
            next(training)
        if accuracy(network, data) >= job.accuracy:
            reached = epoch
            break
    return {"epochs": reached, **vars(watch)}


def _warm_up(data: DataSet) -> None:
    """Prune and train a tiny network: first calls import and compile, which is not to be timed."""
    network = _build(data, 4, 0)
    phew.to_sparse(network, phew.sample_masks(network, data.example, density=0.1))
    list(epochs(network, data, Protocol(num_epochs=1), seed=0))


def width_of_small(data: DataSet, job: Speed) -> int:
    """Return the largest width with at most as many weights as masks of the density keep."""

    def num_weights(width: int) -> int:
        with torch.device("meta"):
            return num_prunable(_perceptron(data, width))

    num_kept = job.density * num_weights(job.width)
    return bisect.bisect(range(1, job.width), num_kept, key=num_weights)


def _build(data: DataSet, width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return _perceptron(data, width).to(data.example.device)


def _perceptron(data: DataSet, width: int) -> nn.Module:
    return perceptron(data.example, data.num_classes, depth=3, width=width)
