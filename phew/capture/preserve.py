"""Leave a model as it was, whatever running it does."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Put back on exit the attributes of every module and all random states.

    What tensors hold is not copied: capture runs on fake ones, or saves a tensor before its first
    change.
    """
    attributes = [(module.__dict__, dict(module.__dict__)) for module in model.modules()]
    containers = [
        (value, copy.copy(value))
        for _, saved in attributes
        for value in saved.values()
        if isinstance(value, dict | list | set)
    ]
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for container, saved in [*attributes, *containers]:
            container.clear()
            add = container.extend if isinstance(container, list) else container.update
            add(saved)
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


class TensorSaver:
    """Saves the storages of existing tensors before their first change, and puts them back.

    Args:
        tensors: The tensors to protect, e.g. a model's buffers.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        storages = (tensor.untyped_storage() for tensor in tensors if _has_storage(tensor))
        self._storages = {storage.data_ptr(): storage for storage in storages}
        self._saved: list[tuple[torch.UntypedStorage, torch.UntypedStorage]] = []

    def before_write(self, tensor: torch.Tensor) -> None:
        """Save a tensor's storage if it is among the protected ones."""
        storage = self._storages.pop(tensor.untyped_storage().data_ptr(), None)
        if storage is not None:
            self._saved.append((storage, storage.clone()))

    def restore(self) -> None:
        """Write what was saved back."""
        for storage, content in self._saved:
            storage.copy_(content)


def _has_storage(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta
