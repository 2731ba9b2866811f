"""Leave a model as it was, whatever running it does."""

from __future__ import annotations

import copy
import random
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from phew.distributed.sharding import is_sharded

_MAPPINGS = (dict, OrderedDict, defaultdict)
_SEQUENCES = (list, set, deque)

# If two threads ran one model, the later would take the earlier's changes for the model's state.
_one_at_a_time = threading.RLock()


@contextmanager
def preserved(model: nn.Module, inputs: Iterable[torch.Tensor]) -> Iterator[TensorSaver]:
    """Put back on exit what a model's attributes refer to, and all random states.

    Attributes are followed through modules and the containers of Python, but not into other
    objects.

    Args:
        model: The model.
        inputs: The tensors that the model is run on.

    Yields:
        The saver, whose `before_write` must be called before a tensor's values are changed: they
        are copied then, and not earlier.
    """
    with _one_at_a_time:
        parts = _parts(model)
        training = [(part, part.training) for part in parts if isinstance(part, nn.Module)]
        tensors = [
            _TensorState(part)
            for part in parts
            # Sharded tensors are not run on: whole ones stand in for them.
            if isinstance(part, torch.Tensor) and not is_sharded(part)
        ]
        gradients = [state.grad for state in tensors if state.grad is not None]
        saver = TensorSaver([*(state.tensor for state in tensors), *gradients, *inputs])
        containers = [
            (part, copy.copy(part)) for part in parts if type(part) in _MAPPINGS + _SEQUENCES
        ]
        python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
        devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
        try:
            with torch.random.fork_rng(devices=devices):
                yield saver
        finally:
            saver.restore()
            # Script modules do not keep this flag among their attributes.
            for module, flag in training:
                module.training = flag
            for container, saved in containers:
                container.clear()
                is_list = isinstance(container, list | deque)
                (container.extend if is_list else container.update)(saved)
            for tensor in tensors:
                tensor.restore()
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


def _parts(model: nn.Module) -> list[Any]:
    """List the modules, containers, tensors and other objects that a model consists of."""
    pending: list[Any] = [*model.modules(), *model.parameters(), *model.buffers()]
    seen = {}
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen[id(part)] = part
        if isinstance(part, nn.Module):
            pending.append(part.__dict__)
        elif type(part) in _MAPPINGS:
            pending += part.values()
        elif type(part) in (*_SEQUENCES, tuple):
            pending += part
    return list(seen.values())


class _TensorState:
    """Remembers a tensor's memory, gradient and flags, but not the values in its memory."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.data = tensor.data
        self.requires_grad = tensor.requires_grad
        # Only leaves have a gradient; reading that of another tensor warns.
        self.grad = tensor.grad if tensor.is_leaf else None

    def restore(self) -> None:
        self.tensor.data = self.data
        if self.tensor.is_leaf:
            self.tensor.grad = self.grad
            if self.tensor.requires_grad != self.requires_grad:
                self.tensor.requires_grad_(self.requires_grad)


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
        """Write the saved values back."""
        for storage, content in self._saved:
            storage.copy_(content)


def _has_storage(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta
