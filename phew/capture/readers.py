"""Find the spaces whose size matters: something reads their units, and no normalisation does.

In `linear(batch_norm(conv(x)))` a batch norm reads the channels of the convolution, and gives them
another size; the linear layer reads what comes out of it. In `h + outer(relu(inner(norm(h))))`
weights read the units of `inner` and a sum those of `outer`. The size of both matters: it is how
much the block adds to h. The size of h itself does not: all blocks read it behind a norm. Nothing
follows the model's output, which the loss sees.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from phew.capture.activations import Activations
from phew.capture.builder import GraphBuilder
from phew.capture.by_tensor import ByTensor
from phew.capture.calls import Call

_INVERSES = {"rsqrt", "rsqrt_", "reciprocal", "reciprocal_"}


class Readers:
    """Knows which spaces weights, sums and products read, and which ones normalisations do.

    Args:
        activations: The labels of activations.
        builder: The graph under construction.
    """

    def __init__(self, activations: Activations, builder: GraphBuilder) -> None:
        self._activations = activations
        self._builder = builder
        # Activations that a normalisation returned, and what has been made of their elements.
        self._after_norm = ByTensor[bool]()
        # Inverses of statistics, as 1 / norm(x).
        self._inverses = ByTensor[bool]()
        self._into_norms: set[int] = set()
        self._as_they_are: set[int] = set()

    @property
    def size_matters(self) -> set[int]:
        """The spaces that something reads as they are, and no normalisation."""
        return self._as_they_are - self._into_norms

    def operands_of(self, call: Call) -> list[tuple[frozenset[int], bool]]:
        """Return per labelled operand its spaces, and whether it comes after a normalisation."""
        return [
            (self._spaces_of(tensor), tensor in self._after_norm)
            for tensor in call.tensors
            if self._activations.labels_of(tensor) is not None
        ]

    def follow(
        self, call: Call, operands: Iterable[tuple[frozenset[int], bool]], *, is_norm: bool
    ) -> None:
        """Note what an operation, which has been labelled, made of its operands.

        Args:
            call: The operation.
            operands: What `operands_of` returned before its rule labelled the results.
            is_norm: Whether it is a normalisation.
        """
        results = set[int]().union(*map(self._spaces_of, call.outputs))
        before = set[int]().union(*(spaces for spaces, _ in operands))
        as_they_are = set[int]().union(*(spaces for spaces, is_after in operands if not is_after))
        is_norm |= self._is_written_out(call, results)
        # Moves and activations make no new units; a statistic does, for the norm that it is for.
        makes_units = not all(map(self._builder.summarised, results - before))
        if is_norm:
            self._into_norms |= as_they_are
        elif makes_units:
            # Who reads a statistic of units that are not its own reads these units.
            self._as_they_are |= as_they_are.union(*map(self._builder.summarised, as_they_are))
        labelled = [part for part in call.tensors if self._activations.labels_of(part) is not None]
        is_inverse = call.name in _INVERSES or (
            bool(labelled) and all(part in self._inverses for part in labelled)
        )
        for output in call.outputs:
            after_norm = is_norm or not (as_they_are or makes_units)
            for flags, flag in ((self._after_norm, after_norm), (self._inverses, is_inverse)):
                if flag:
                    flags[output] = True
                else:
                    flags.discard(output)

    def _is_written_out(self, call: Call, results: set[int]) -> bool:
        """Return whether units are divided by a statistic of theirs: `x * rsqrt(mean(x * x))`."""
        if call.name in ("div", "div_"):
            divisors = call.args[1:2]
        elif call.name in ("mul", "mul_"):
            divisors = tuple(part for part in call.tensors if part in self._inverses)
        else:
            return False
        spaces = set[int]().union(
            *(self._spaces_of(part) for part in divisors if isinstance(part, torch.Tensor))
        )
        sources = [self._builder.summarised(space) for space in spaces - results]
        return any(each and each <= results for each in sources)

    def _spaces_of(self, tensor: torch.Tensor) -> frozenset[int]:
        labels = self._activations.labels_of(tensor)
        if labels is None:
            return frozenset()
        return self._builder.spaces.owners_of(labels)
