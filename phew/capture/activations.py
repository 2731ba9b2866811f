"""The labels of the tensors that a run makes, those that are changed in place included."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from phew.capture.by_tensor import ByTensor
from phew.capture.labels import CONSTANT, compact, raw_labels


class Activations:
    """Keeps the labels of tensors, and brings those of views up to date.

    A view shares its memory with its base. After `view = base[:, 0]` is labelled at time 1, adding
    to the base in place labels the base at time 2: the labels of the view are then read from those
    of the base. A change of the view itself is written to the labels of the base at once.
    """

    def __init__(self) -> None:
        self._clock = 0
        self._num_raw = 0
        # Each tensor's labels with the time at which they were set.
        self._labels = ByTensor[tuple[int, torch.Tensor]]()
        # The time at which each tensor was last changed in place.
        self._written = ByTensor[int]()

    def raw_labels(self, shape: torch.Size, constant_dims: Iterable[int] = (0,)) -> torch.Tensor:
        """Make labels that no other tensor has, for one that the model is fed with."""
        labels = raw_labels(shape, CONSTANT - 1 - self._num_raw, constant_dims)
        self._num_raw += compact(labels).numel()
        return labels

    def labels_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return a tensor's labels, None for a constant."""
        time, labels = self._labels.get(tensor) or (0, None)
        base = tensor._base if self._written else None
        if base is not None and (self._written.get(base) or 0) > time:
            _, base_labels = self._labels[base]
            return _part(_strided_like(base, base_labels), base, tensor)
        return labels

    def set_labels(self, tensor: torch.Tensor, labels: torch.Tensor) -> None:
        """Label a new tensor."""
        self._clock += 1
        self._labels[tensor] = (self._clock, labels)

    def write_labels(
        self, tensor: torch.Tensor, labels: torch.Tensor, base_labels: torch.Tensor | None
    ) -> None:
        """Label a tensor that was changed in place, and with it the tensor that it is a view of.

        Args:
            tensor: The tensor.
            labels: Its labels.
            base_labels: The labels that the tensor's base had before, None if it is no view.
        """
        base = tensor._base
        if base is not None and base_labels is not None:
            strided = _strided_like(base, base_labels)
            _part(strided, base, tensor).copy_(labels)
            self._write(base, strided)
        self._write(tensor, labels)

    def _write(self, tensor: torch.Tensor, labels: torch.Tensor) -> None:
        self.set_labels(tensor, labels)
        self._written[tensor] = self._clock


def _strided_like(base: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Copy labels to the strides of their tensor, where its views' strides find theirs."""
    strided = torch.empty_strided(base.shape, base.stride(), dtype=torch.int32, device="cpu")
    return strided.copy_(labels)


def _part(strided: torch.Tensor, base: torch.Tensor, view: torch.Tensor) -> torch.Tensor:
    """Return the labels that a view has among those of its base."""
    offset = view.storage_offset() - base.storage_offset()
    return strided.as_strided(view.shape, view.stride(), offset)
