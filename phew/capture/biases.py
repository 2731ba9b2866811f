"""Which activations have values where nothing feeds their units: those behind a bias, say.

`silu(gate) * up` is zero where nothing feeds the gate, as silu(0) is 0, and a path over `up` is
none there. `sigmoid(gate) * up` is not, and neither is `silu(gate + bias) * up`: their first factor
is *biased*.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from phew.capture.activations import Activations
from phew.capture.by_tensor import ByTensor
from phew.capture.calls import Call
from phew.capture.spaces import Needs
from phew.capture.values import Values
from phew.graph.links import NOTHING
from phew.running.tensors import may_hold_units

_NEEDED = {
    "mul": {0: 1, 1: 0},
    "div": {1: 0},
    "addcmul": {1: 2, 2: 1},
    "addcdiv": {2: 1},
    "lerp": {1: 2},
}
"""Pointwise products: by argument, the other one that makes it nothing where that is zero.

A denominator is never such a one.
"""


class Biases:
    """Knows which activations are biased.

    Args:
        activations: The labels of activations.
        values: Tells which tensors have values that are known.
    """

    def __init__(self, activations: Activations, values: Values) -> None:
        self._activations = activations
        self._values = values
        self._biased = ByTensor[bool]()
        # Activations that a zero was multiplied with: the first states of recurrences.
        self._nothing = ByTensor[bool]()

    def __contains__(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor has values where nothing feeds it, as all but zeros have."""
        if self._activations.labels_of(tensor) is None:
            is_zero = self._values.are_known(tensor) and not tensor.any()
            return tensor.numel() > 0 and not is_zero
        base = tensor._base
        return tensor in self._biased or (base is not None and base in self._biased)

    def set(self, tensor: torch.Tensor, *, biased: bool, nothing: bool) -> None:
        """Note whether an activation is biased, and with it one whose memory it views.

        Args:
            tensor: The activation, which is new or was changed in place.
            biased: Whether it is.
            nothing: Whether a zero was multiplied with it.
        """
        for flagged, flag in ((self._biased, biased), (self._nothing, nothing)):
            if flag:
                flagged[tensor] = True
            else:
                flagged.discard(tensor)
        if biased and tensor._base is not None:
            self._biased[tensor._base] = True

    def are_in(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Return whether one of some tensors is biased; those of integers are indices."""
        return any(tensor in self for tensor in tensors if may_hold_units(tensor))

    def needs(self, call: Call) -> Needs:
        """Return, per labelled operand of a pointwise operation, those that it needs.

        What was multiplied with zero before carries nothing.
        """
        needed = _NEEDED.get(call.name.removesuffix("_"), {})
        operands = [part for part in call.tensors if self._activations.labels_of(part) is not None]
        numbers = {id(tensor): number for number, tensor in enumerate(operands)}
        needs: Needs = [frozenset({NOTHING} if part in self._nothing else ()) for part in operands]
        for argument, other in needed.items():
            number, needed_number = (
                numbers.get(id(call.args[position])) for position in (argument, other)
            )
            if number is None or needed_number is None or operands[needed_number] in self:
                continue
            needs[number] |= {needed_number}
        return needs

    def are_multiplied_by_zero(self, call: Call) -> bool:
        """Return whether an operation is a product with a constant that is zero everywhere."""
        constants = [part for part in call.tensors if self._activations.labels_of(part) is None]
        return call.name in ("mul", "mul_") and not all(part in self for part in constants)
