"""Which activations have values where nothing feeds their units: those behind a bias, say.

`silu(gate) * up` is zero where nothing feeds the gate, as silu(0) is 0, and a path over `up` is
none there. `sigmoid(gate) * up` is not, and neither is `silu(gate + bias) * up`: their first factor
is *biased*.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from phew.capture.activations import Activations
from phew.capture.builder import GraphBuilder
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


@dataclass(frozen=True)
class _StandIn:
    """An argument of an operation that is run to see what it makes of zeros.

    Attributes:
        number: None for one that is zero; different for others, whose difference is not zero.
        dtype: Its dtype.
    """

    number: int | None
    dtype: torch.dtype

    def tensor(self) -> torch.Tensor:
        """Return a tensor of two numbers; flags are both set and not."""
        if self.number is None:
            return torch.zeros(2, dtype=self.dtype, device="cpu")
        more = self.number / 8
        has_values = self.dtype.is_floating_point or self.dtype.is_complex
        numbers = [0.7 + more, 1.2 + more] if has_values else [0, 1]
        return torch.tensor(numbers, dtype=self.dtype, device="cpu")


class Biases:
    """Knows which activations are biased.

    Args:
        activations: The labels of activations.
        values: Tells which tensors have values that are known.
        builder: Tells which units are statistics of others.
    """

    def __init__(self, activations: Activations, values: Values, builder: GraphBuilder) -> None:
        self._activations = activations
        self._values = values
        self._builder = builder
        self._biased = WeakTensorKeyDictionary()
        # Activations that a zero was multiplied with: the first states of recurrences.
        self._nothing = WeakTensorKeyDictionary()
        # Whether an operation makes something of zeros, by the operation and its arguments.
        self._made: dict[str, bool] = {}

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
                flagged.pop(tensor, None)
        if biased and tensor._base is not None:
            self._biased[tensor._base] = True

    def are_in(self, tensors: Iterable[torch.Tensor]) -> bool:
        """Return whether one of some tensors is biased; those of integers are indices."""
        return any(tensor in self for tensor in tensors if may_hold_units(tensor))

    def are_made_by(self, call: Call) -> bool:
        """Return whether a pointwise operation makes something of units that nothing feeds.

        It is run on two numbers for each argument: zeros for what is not biased, others for biases,
        parameters and constants, and for statistics, in which other units have a share.
        """
        given = {id(tensor): tensor for tensor in call.tensors}
        numbers = {
            each: index if tensor in self or self._is_statistic(tensor) else None
            for index, (each, tensor) in enumerate(given.items())
        }

        def described(tensor: torch.Tensor) -> _StandIn:
            return _StandIn(numbers.get(id(tensor)), tensor.dtype)

        args, kwargs = tree_map_only(torch.Tensor, described, (call.args, dict(call.kwargs)))
        key = repr((call.operation, args, kwargs))
        if key not in self._made:
            args, kwargs = tree_map_only(_StandIn, _StandIn.tensor, (args, kwargs))
            result: Any = call.operation(*args, **kwargs)
            first: torch.Tensor = result[0] if isinstance(result, tuple) else result
            self._made[key] = bool((first != 0).any())
        return self._made[key]

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

    def _is_statistic(self, tensor: torch.Tensor) -> bool:
        labels = self._activations.labels_of(tensor)
        return labels is not None and self._builder.is_statistic(labels)
