"""Seconds and peak memory of a method, each in a process of its own, and on which machine."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from methods import Method, count_hops
from torch import Tensor, nn

import phew
from phew.models import NETWORKS


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
    context = multiprocessing.get_context("forkserver")
    # Imported once for all; capture needs it. Not so phew, which the server, unlike a script, would
    # look for in the current directory first.
    context.set_forkserver_preload(["torch._dynamo"])
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        return executor.submit(_measure, method, network, density, repetitions).result()


def _measure(method: Method, name: str, density: float, repetitions: int) -> Measurement:
    network, example_input = _build(name)
    method(*_build("lenet5"), 0.001)  # leaves out what only a first call does
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


def _build(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    network = NETWORKS[name]
    return network.build(), torch.zeros(1, *network.input_shape)


def median_seconds(function: Callable[[], Any], *, repetitions: int = 3) -> float:
    """Time several runs of a function that has been run before."""
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def peak_memory() -> int:
    """The bytes that this process has held at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def environment() -> dict[str, str | int | float]:
    """When, on what and with which versions this process runs."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "phew": phew.__version__,
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
