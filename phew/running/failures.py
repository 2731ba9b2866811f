"""Failures of a run: a model's own, and lack of memory."""

from __future__ import annotations

import torch


class ModelFailedError(Exception):
    """Raised from what a model's own code raised."""


def is_lack_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory cannot be allocated, on the CPU or a device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Torch's allocator on the CPU raises a RuntimeError.
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def add_note(error: BaseException, note: str) -> None:
    """Add a note to an error, which Python shows below it from version 3.11 on."""
    error.__notes__ = [*getattr(error, "__notes__", ()), note]
