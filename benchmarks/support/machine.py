"""The machine and the versions that a benchmark runs with, and its time and memory."""

from __future__ import annotations

import datetime
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import phew
from phew import _core


def numbers_of_threads() -> list[int]:
    """Return one, and the number of threads that torch uses."""
    return sorted({1, torch.get_num_threads()})


def environment() -> dict[str, str | int | float]:
    """Return the date, the machine and the versions that this process runs with."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpuinfo("model name") or platform.processor(),
        "instruction sets": " ".join(_core.instruction_sets()),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "phew": phew.__version__,
    }


def peak_memory() -> int:
    """Return the most bytes that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def median_seconds(function: Callable[[], Any], *, repetitions: int = 3) -> float:
    """Return the median seconds of several runs of a function that has been run before."""
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _cpuinfo(key: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    values = [line.partition(":")[2].strip() for line in lines if line.startswith(key)]
    return values[0] if values else ""
