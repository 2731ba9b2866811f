"""Which spaces nothing reads but normalisations.

In `batch_norm(conv(x))` the channels of the convolution are read by the batch norm alone. In
`h + layer_norm(h)` the units of h are read by the sum too.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from phew.capture.activations import Activations
from phew.capture.builder import GraphBuilder
from phew.capture.calls import Call
from phew.capture.labels import compact

_DIVISIONS = {"mul", "mul_", "div", "div_"}


class Readers:
    """Knows which spaces are normalised, and which are read as they are.

    Args:
        activations: The labels of activations.
        builder: The graph under construction.
    """

    def __init__(self, activations: Activations, builder: GraphBuilder) -> None:
        self._activations = activations
        self._builder = builder
        # Activations that a normalisation returned, and what has been made of their elements.
        self._after_norm = WeakTensorKeyDictionary()
        self._into_norms: set[int] = set()
        self._as_they_are: set[int] = set()

    @property
    def normalised(self) -> set[int]:
        """The spaces that nothing reads but normalisations."""
        return self._into_norms - self._as_they_are

    def operands_of(self, call: Call) -> list[tuple[set[int], bool]]:
        """Return per labelled operand its spaces, and whether it comes after a normalisation."""
        return [
            (self._spaces_of(tensor), tensor in self._after_norm)
            for tensor in call.tensors
            if self._activations.labels_of(tensor) is not None
        ]

    def follow(
        self, call: Call, operands: Iterable[tuple[set[int], bool]], *, is_norm: bool
    ) -> None:
        """Note what an operation, which has been labelled, made of its operands.

        Args:
            call: The operation.
            operands: What `operands_of` returned before its rule labelled the results.
            is_norm: Whether it is a normalisation.
        """
        results = set[int]().union(*map(self._spaces_of, call.outputs))
        read = [spaces for spaces, is_after in operands if not is_after]
        before = set[int]().union(*(spaces for spaces, _ in operands))
        statistics = {
            space for space in before - results if self._builder.is_statistic_space(space)
        }
        # `x * rsqrt(x.square().mean())` is a normalisation that is written out.
        is_norm |= call.name in _DIVISIONS and bool(statistics)
        if is_norm:
            self._into_norms.update(*read)
        elif any(not self._builder.is_statistic_space(space) for space in results - before):
            self._as_they_are.update(*read)
        for output in call.outputs:
            if is_norm or (operands and not read):
                self._after_norm[output] = True
            else:
                self._after_norm.pop(output, None)

    def exit(self, tensors: Iterable[torch.Tensor]) -> None:
        """Note that the model returns some tensors."""
        for tensor in tensors:
            if tensor not in self._after_norm:
                self._as_they_are |= self._spaces_of(tensor)

    def _spaces_of(self, tensor: torch.Tensor) -> set[int]:
        labels = self._activations.labels_of(tensor)
        if labels is None:
            return set()
        return set(self._builder.spaces.owners_in(compact(labels).numpy()))
