"""Tensors on the CPU, whatever device the caller has made the default."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def cpu_by_default() -> AbstractContextManager[object]:
    """Make tensors on the CPU in a block of code.

    Where the default is the CPU anyway nothing is done, because torch's own context costs time at
    each call of torch.
    """
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")
