"""Random states of the process, which running a model leaves as they were."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_WAITING = {"wait", "select", "poll", "_wait_for_tstate_lock"}
"""Functions in which threads wait that have nothing to do, as those of progress bars."""

_NOTEBOOK = {"zmq", "ipykernel", "IPython"}
"""Packages whose threads only talk to a notebook's browser."""


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put back on exit the random states of Python, NumPy and torch, unless other threads run.

    The states are those of the whole process. Another thread may draw numbers itself, which putting
    the states back would make it draw again. So nothing is put back then.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    gpu_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    waited = {thread for thread, waits in _others() if waits}
    try:
        yield
    finally:
        if all(waits and thread in waited for thread, waits in _others()):
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            torch.set_rng_state(torch_state)
            for device, state in enumerate(gpu_states):
                torch.cuda.set_rng_state(state, device)


def _others() -> Iterator[tuple[int, bool]]:
    """Yield the other threads, and whether each waits for something."""
    for thread, frame in sys._current_frames().items():
        if thread != threading.get_ident():
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            yield thread, package in _NOTEBOOK or frame.f_code.co_name in _WAITING
