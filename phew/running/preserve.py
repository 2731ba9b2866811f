"""Leave a model as it was, whatever running it does."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from phew.distributed.sharding import is_sharded
from phew.running.parts import Contents
from phew.running.random_states import random_states_kept
from phew.running.wrapped import has_memory, is_wrapper

# If two threads ran one model, the later would take the earlier's changes for the model's state.
_one_at_a_time = threading.RLock()


def _renew_lock() -> None:
    """Let a forked process run models, whatever another thread of its parent was running."""
    global _one_at_a_time
    _one_at_a_time = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def one_at_a_time() -> AbstractContextManager[object]:
    """Keep other threads from running models as this one does."""
    return _one_at_a_time


@contextmanager
def preserved(parts: Sequence[Any], inputs: Iterable[torch.Tensor]) -> Iterator[TensorSaver]:
    """Put back on exit what a model's attributes refer to, and random states.

    Attributes are followed through modules, containers, other objects and what functions close
    over, but not into classes.

    Args:
        parts: What the model consists of (see `parts_of`).
        inputs: The tensors that the model is run on.

    Yields:
        The saver, whose `before_write` must be called before a tensor's values are changed: they
        are copied then, and not earlier.
    """
    with one_at_a_time():
        # Most parts are the dictionaries of modules, and to ask what they are takes time.
        objects = [part for part in parts if type(part) is not dict]
        training = [(part, part.training) for part in objects if isinstance(part, nn.Module)]
        tensors = [
            _TensorState(part)
            for part in objects
            # Sharded tensors are not run on: whole ones stand in for them. What a tensor wraps is
            # among the parts itself.
            if isinstance(part, torch.Tensor) and not (is_sharded(part) or is_wrapper(part))
        ]
        gradients = [state.grad for state in tensors if state.grad is not None]
        saver = TensorSaver([*(state.tensor for state in tensors), *gradients, *inputs])
        generators = [
            (part, part.get_state()) for part in objects if isinstance(part, torch.Generator)
        ]
        contents = [Contents(part) for part in parts if Contents.are_of(part)]
        try:
            with random_states_kept():
                yield saver
        finally:
            saver.restore()
            # Script modules do not keep this flag among their attributes.
            for module, flag in training:
                module.training = flag
            for content in contents:
                content.restore()
            for tensor in tensors:
                tensor.restore()
            for generator, state in generators:
                generator.set_state(state)


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
        storages = (tensor.untyped_storage() for tensor in tensors if _has_values(tensor))
        self._storages = {storage.data_ptr(): storage for storage in storages}
        self._saved: list[tuple[torch.UntypedStorage, torch.UntypedStorage]] = []

    def before_write(self, tensor: torch.Tensor) -> None:
        """Save a tensor's storage if it is among the protected ones."""
        if not _has_values(tensor):
            return
        storage = self._storages.pop(tensor.untyped_storage().data_ptr(), None)
        if storage is not None:
            self._saved.append((storage, storage.clone()))

    def restore(self) -> None:
        """Write the saved values back."""
        for storage, content in self._saved:
            storage.copy_(content)


def _has_values(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_meta and has_memory(tensor)
