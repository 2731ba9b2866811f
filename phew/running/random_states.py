"""Random states of the process, which running a model leaves as they were."""

from __future__ import annotations

import pickle
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch

_WAITING = {"wait", "select", "poll", "_wait_for_tstate_lock"}
"""Functions in which threads wait that have nothing to do, as those of progress bars."""


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put back on exit the random states of Python, NumPy and torch, unless other threads run.

    The states are those of the whole process. Another thread may draw numbers itself, which putting
    the states back would make it draw again. So nothing is put back then.
    """
    # The signs come first, so that a thread that draws before the states are read is seen to run.
    before = _idle_signs()
    states = _States()
    try:
        yield
    finally:
        last = _States()
        if not last.equal(states):
            idle = all(signs & before.get(thread, set()) for thread, signs in _idle_signs().items())
            # Other threads may run, and draw, while their signs are read.
            if idle and _States().equal(last):
                states.put_back()


class _States:
    """The random states at one time."""

    def __init__(self) -> None:
        self._python = random.getstate()
        self._numpy = np.random.get_state(legacy=False)  # noqa: NPY002
        self._torch = torch.get_rng_state()
        self._gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def equal(self, other: _States) -> bool:
        """Return whether no number was drawn between two times."""
        pairs = zip((self._torch, *self._gpus), (other._torch, *other._gpus), strict=False)
        return (
            self._python == other._python
            and pickle.dumps(self._numpy) == pickle.dumps(other._numpy)
            and all(torch.equal(one, another) for one, another in pairs)
        )

    def put_back(self) -> None:
        """Make the process draw what it would have drawn at that time."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002
        torch.set_rng_state(self._torch)
        for device, state in enumerate(self._gpus):
            torch.cuda.set_rng_state(state, device)


def _idle_signs() -> dict[int, set[str]]:
    """Return for each other thread what, if it is so again later, says that it has been idle.

    A thread that has not run meanwhile has used the same time of a processor: Linux tells which.
    """
    native = {thread.ident: thread.native_id for thread in threading.enumerate()}
    signs: dict[int, set[str]] = {}
    frames = sys._current_frames()
    # This function's frame would refer to itself, and keep alive what its callers hold.
    del frames[threading.get_ident()]
    for thread, frame in frames.items():
        signs[thread] = {frame.f_code.co_name} & _WAITING
        with suppress(OSError):
            signs[thread].add(Path(f"/proc/self/task/{native.get(thread)}/schedstat").read_text())
    return signs
