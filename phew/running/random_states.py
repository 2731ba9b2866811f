"""Random states of the process, which running a model leaves as they were."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put back on exit the random states of Python, NumPy and torch, if this thread is alone.

    The states are those of the whole process. While another thread runs it may draw numbers
    itself, which putting the states back would make it draw again. So nothing is put back then.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    states = [torch.get_rng_state(), *_states_of_gpus()]
    try:
        yield
    finally:
        if threading.active_count() == 1:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            torch.set_rng_state(states[0])
            for device, state in enumerate(states[1:]):
                torch.cuda.set_rng_state(state, device)


def _states_of_gpus() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
