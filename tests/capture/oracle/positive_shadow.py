"""A model's positive shadow: the same network with everything between its weights made linear.

What the model did is done again under autograd, in double precision, with what has no slope or
could cancel replaced: an element-wise function becomes a positive multiple of its argument; a join
(sum, product, ...) or the product of two activations a sum with positive factors; a maximum a mean;
what a normalisation measures is frozen. A gradient in the shadow is non-zero exactly where one
value depends on another.
"""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from recorded_calls import Call, Recorded, Recorder, is_floating
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten

PRODUCTS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
"""Matrix products, and the position of their left operand."""
ELEMENTWISE = {"hardswish", "masked_fill", "_prelu_kernel", "rrelu_with_noise", "_to_copy"}
NORMALISATIONS = {
    *("native_layer_norm", "native_group_norm", "_fused_rms_norm", "_weight_norm_interface"),
    *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"),
    *("_batch_norm_with_update", "_softmax", "_log_softmax", "_safe_softmax"),
}
STATISTICS = {"rsqrt", "sqrt", "var", "var_mean", "std", "std_mean", "norm", "linalg_vector_norm"}
LOOKUPS = {"embedding", "index", "index_select", "gather"}
"""Operations whose results are activations, although their operand is a parameter."""
CHOICES = {"topk", "sort"}
PRODUCTS_BY_ELEMENT = {"mul", "logical_and", "bitwise_and", "__and__"}
CHOSEN = {"where": ("condition", "self", "other"), "masked_fill": ("mask", "value", "self")}
"""Operations that choose between operands by flags: the names of the flags and the operands."""
REDUCTIONS = {"any", "all", "sum", "mean", "max", "min", "amax", "amin", "logsumexp", "prod"}
MAX_POOLS = {f"max_pool{dim}d_with_indices": getattr(aten, f"avg_pool{dim}d") for dim in (2, 3)}
ADAPTIVE_MAX_POOLS = {
    f"adaptive_max_pool{dim}d": getattr(aten, f"_adaptive_avg_pool{dim}d") for dim in (2, 3)
}
SPLITS = {"split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "unbind"}


@dataclass(frozen=True)
class Value:
    """A tensor of the shadow.

    Attributes:
        data: The values, in double precision.
        parameter: Name of the parameter, if the tensor is made of parameters alone.
        root: The tensor that it is an element-wise function of.
        measured: The root of the tensor that it is a reduction of, if it is one.
    """

    data: Tensor
    parameter: str | None
    root: int
    measured: int | None = None

    @property
    def is_active(self) -> bool:
        """Whether it depends on the model's inputs or on what weights returned."""
        return self.data.requires_grad and self.parameter is None


@dataclass(frozen=True)
class WeightedOperation:
    """A product of an activation and weights.

    Attributes:
        parameter: Name of the parameter that the weights are.
        activation: What they are multiplied with.
        weights: The weights, as the operation reads them.
        side: Where they stand: "left" or "right" in a product, "kernel" in a convolution.
        compute: Returns the result, without a bias.
        ends: Where rows stop to be of one matrix of several, and those of the next begin.
    """

    parameter: str
    activation: Tensor
    weights: Tensor
    side: str
    compute: Callable[[], Tensor]
    ends: Tensor | None = None

    def inputs_by_unit(self) -> Tensor:
        """Return the activation in the shape (input units, elements of a unit)."""
        return self._by_unit(self.activation)

    def outputs_by_unit(self, outputs: Tensor) -> Tensor:
        """Return a tensor of the result's shape in the shape (output units, elements of a unit)."""
        if self.side == "right" and self.weights.dim() == 1:
            return outputs.reshape(1, -1)
        return self._by_unit(outputs)

    def sums_by_unit(self) -> Tensor:
        """Return the sum of each input unit's weights in a product."""
        sums = self.weights if self.weights.dim() == 1 else self.weights.sum(self._axis(-1, -2))
        if self.weights.dim() == 3 and self.ends is None:
            sums = torch.stack([sums[group[0]] for group in self._groups()])
        return sums.detach().flatten()

    def _axis(self, right: int, left: int) -> int:
        return left if self.side == "left" else right

    def _by_unit(self, values: Tensor) -> Tensor:
        if self.side == "kernel":
            return values.movedim(1, 0).flatten(1)
        if self.ends is not None:  # the matrices are groups, whatever their number of rows
            rows = torch.arange(len(values)).unsqueeze(0)
            starts = F.pad(self.ends[:-1], (1, 0))
            mine = (rows >= starts.unsqueeze(1)) & (rows < self.ends.unsqueeze(1))
            return (values * mine.unsqueeze(-1)).transpose(1, 2).flatten(0, 1)
        axis = -1 if self.activation.dim() == 1 else self._axis(-1, -2)
        if values.dim() < 3:
            return values.movedim(axis, 0).reshape(values.shape[axis], -1)
        parts = [torch.stack([values[i] for i in group]) for group in self._groups()]
        return torch.cat([part.movedim(axis, 0).flatten(1) for part in parts])

    def _groups(self) -> list[list[int]]:
        """Return the indices of a batch's matrices, those of equal weights together."""
        groups: dict[bytes, list[int]] = {}
        for index, matrix in enumerate(self.weights.detach()):
            groups.setdefault(matrix.numpy().tobytes(), []).append(index)
        return list(groups.values())


class Shadow:
    """Does what a model did as the positive shadow.

    Args:
        model: The model.
        inputs: What it was called with.
        recorder: What it did.
        parameters: The values of its parameters in the shadow, by name, in double precision.
        weigh: Returns the result of a weighted operation.

    Attributes:
        entries: The counterparts of the inputs.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        recorder: Recorder,
        parameters: Mapping[str, Tensor],
        weigh: Callable[[WeightedOperation], Tensor],
    ) -> None:
        self._constants = recorder.constants
        self._weigh = weigh
        self._generator = torch.Generator().manual_seed(0)
        self._values: dict[int, Value] = {}
        self._is_dense = all(bool(values.all()) for values in parameters.values())
        self._parameters = {
            parameter.untyped_storage().data_ptr(): (name, parameters[name])
            for name, parameter in model.named_parameters()
        }
        floating = [x for x in tree_leaves(inputs) if isinstance(x, Tensor) and is_floating(x)]
        self.entries = [self.positive(leaf.shape).requires_grad_() for leaf in floating]
        for leaf, entry in zip(floating, self.entries, strict=True):
            self._values[id(leaf)] = Value(entry.clone(), None, id(leaf))
        for call in recorder.calls:
            self._do(call)

    def positive(self, shape: Sequence[int]) -> Tensor:
        """Make random values between a half and one and a half."""
        return torch.rand(shape, dtype=torch.float64, generator=self._generator) + 0.5

    def active(self, outputs: Any) -> list[Tensor]:
        """Return the counterparts of those of the model's outputs that weights lead to."""
        keys = [id(leaf) for leaf in tree_leaves(outputs)]
        values = [self._values[key] for key in keys if key in self._values]
        return [value.data for value in values if value.is_active]

    def _value(self, recorded: Recorded) -> Value:
        if recorded.key not in self._values:
            if recorded.flags is not None:
                return Value(recorded.flags, None, recorded.key)
            original, copy = self._constants[recorded.key]
            name, data = self._parameters.get(original.untyped_storage().data_ptr(), (None, None))
            if data is None:
                data = copy.detach().to(double(copy), copy=True)
            else:
                data = data.as_strided(original.shape, original.stride(), original.storage_offset())
            self._values[recorded.key] = Value(data, name, recorded.key)
        return self._values[recorded.key]

    def _do(self, call: Call) -> None:
        results = [leaf for leaf in tree_leaves(call.results) if isinstance(leaf, Recorded)]
        if not results:
            return
        leaves = tree_leaves(call.arguments)
        operands = [self._value(leaf) for leaf in leaves if isinstance(leaf, Recorded)]
        parameter = None
        if weighted := self._weighted(call):
            parts = [self._weigh(weighted)]
            if PRODUCTS.get(call.name) and operands[0].is_active:
                parts.append(operands[0].data)
            data = [self._sum(parts, results[0])]
        elif call.name in LOOKUPS and operands[0].parameter is not None:
            data = [self.positive(results[0].shape).requires_grad_()]
        elif active := [value for value in operands if value.is_active]:
            data = self._replaced(call, results, active)
        elif owners := [value for value in operands if value.parameter is not None]:
            largest = max(owners, key=lambda value: value.data.numel())
            parameter = largest.parameter
            data = self._replaced(call, results, [largest])
        else:
            data = self._exact(call)
        if results[0].flags is not None and not (data and data[0].requires_grad):
            return  # flags that no unit sets have the values of the run
        root, measured = _origin(call, results[0], operands)
        for recorded, values in zip(results, data, strict=False):
            if call.is_in_place and values is not operands[0].data:
                values = operands[0].data.copy_(values)
            key = recorded.key
            self._values[key] = Value(
                values.to(double(values)), parameter, key if root is None else root, measured
            )

    def _weighted(self, call: Call) -> WeightedOperation | None:
        arguments = list(call.arguments.values())
        if call.name == "convolution":
            activation, weights = map(self._value, arguments[:2])
            if weights.parameter is None:
                return None
            return WeightedOperation(
                *(weights.parameter, activation.data, weights.data, "kernel"),
                lambda: aten.convolution(activation.data, weights.data, None, *arguments[3:]),
            )
        if call.name in ("_grouped_mm", "grouped_mm_fallback"):
            left, right = map(self._value, arguments[:2])
            offsets = call.arguments["offs"]
            ends = self._value(offsets).data if isinstance(offsets, Recorded) else offsets
            rows = left.data.tensor_split(ends[:-1].tolist())
            return WeightedOperation(
                *(str(right.parameter), left.data, right.data, "right"),
                lambda: torch.cat([a @ b for a, b in zip(rows, right.data, strict=True)]),
                ends,
            )
        if call.name not in PRODUCTS:
            return None
        position = PRODUCTS[call.name]
        left, right = map(self._value, arguments[position : position + 2])
        if right.parameter is not None:
            names = (right.parameter, left.data, right.data, "right")
        elif left.parameter is not None and right.is_active:
            names = (left.parameter, right.data, left.data, "left")
        else:
            return None
        return WeightedOperation(*names, lambda: left.data @ right.data)

    def _exact(self, call: Call) -> list[Tensor]:
        """Do what the model did."""
        arguments = tree_map(self._resolve, call.arguments)
        if call.name in ("view", "_unsafe_view"):  # strides may be others than the model's
            return [arguments["self"].reshape(arguments["size"])]
        if call.name == "detach":  # values pass it, if not gradients
            return [aten.alias(arguments["self"])]
        leaves = tree_leaves(call.function(**arguments))
        data = [leaf for leaf in leaves if isinstance(leaf, Tensor) and is_floating(leaf)]
        if call.name in SPLITS:  # autograd lets nobody write to one of several views
            whole = arguments["self"]
            data = [whole.as_strided(v.shape, v.stride(), v.storage_offset()) for v in data]
        return data

    def _resolve(self, argument: Any) -> Any:
        if isinstance(argument, Recorded):
            return self._value(argument).data
        if isinstance(argument, torch.dtype) and argument.is_floating_point:
            return torch.float64
        if isinstance(argument, torch.dtype) and argument.is_complex:
            return torch.complex128
        return argument

    def _replaced(
        self, call: Call, results: Sequence[Recorded], followed: Sequence[Value]
    ) -> list[Tensor]:
        """Do the positive counterpart of what the model did, to these of the operands."""
        name, arguments, result = call.name, call.arguments, results[0]
        first = followed[0].data
        if name in STATISTICS:
            return [torch.ones(each.shape, dtype=torch.float64) for each in results]
        if name in NORMALISATIONS:
            shifted = (first == 0).double() * self._is_dense
            return [self._sum([first], result) + shifted]
        if name in CHOSEN and not isinstance(arguments[CHOSEN[name][0]], Recorded):
            return [self._chosen(call, result)]
        if name == "index_put" and isinstance(arguments["indices"][0], Recorded):
            return [self._sum([value.data for value in followed], result)]
        if name in ELEMENTWISE or torch.Tag.pointwise in call.function.tags:
            return [self._join(call, result, followed)]
        if name in REDUCTIONS:
            axes = arguments.get("dim")
            return [first.mean() if axes in (None, []) else first.mean(axes, arguments["keepdim"])]
        if name in MAX_POOLS:
            names = ("kernel_size", "stride", "padding", "ceil_mode")
            return [MAX_POOLS[name](first, **{key: arguments[key] for key in names})]
        if name in ADAPTIVE_MAX_POOLS:
            return [ADAPTIVE_MAX_POOLS[name](first, arguments["output_size"])]
        if name in CHOICES:
            return [first.mean(arguments["dim"], keepdim=True).expand(result.shape)]
        if name == "grid_sampler_2d":
            return [self._sample(call, result)]
        if name == "glu":
            return [self._sum(first.chunk(2, arguments["dim"]), result)]
        if name in PRODUCTS or name == "convolution":
            return [self._product(call, result)]
        return self._exact(call)

    def _join(self, call: Call, result: Recorded, followed: Sequence[Value]) -> Tensor:
        leaves = call.arguments.values()
        operands = [self._value(leaf) for leaf in leaves if isinstance(leaf, Recorded)]
        if call.name in ("sub", "div") and operands[0].root == operands[-1].measured:
            followed = operands[:1]
        total = self._sum([value.data for value in followed], result)
        if call.name in PRODUCTS_BY_ELEMENT:
            # Not so where pruned weights make the zeros: a path over one factor is one. All zeros
            # are the first state of a recurrence.
            zeroing = [value for value in operands if self._is_dense or not value.is_active]
            factors = [value.data for value in zeroing if value.parameter is None]
            factors += [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            total = math.prod((factor != 0 for factor in factors if factor.any()), start=total)
        elif self._is_dense and bool((total == 0).any()):
            # An exponential or a shift makes another constant of a zero.
            arguments = {key: self._resolve(value) for key, value in call.arguments.items()}
            arguments = {key: _plain(value, key) for key, value in arguments.items()}
            total = total + ((total == 0) & (call.function(**arguments) != 0)).double()
        return total

    def _chosen(self, call: Call, result: Recorded) -> Tensor:
        """Choose between two operands by flags that are the same for every input."""
        flags, one, other = (self._resolve(call.arguments[name]) for name in CHOSEN[call.name])
        return torch.where(flags, one, other).expand(result.shape)

    def _sample(self, call: Call, result: Recorded) -> Tensor:
        """Read an image everywhere at each place of a grid."""
        image, grid = (self._value(call.arguments[name]) for name in ("input", "grid"))
        means = image.data.mean((2, 3), keepdim=True), grid.data.mean(3).unsqueeze(1)
        pairs = zip(means, (image, grid), strict=True)
        return self._sum([mean for mean, value in pairs if value.is_active], result)

    def _product(self, call: Call, result: Recorded) -> Tensor:
        """Sum what each of two activations brings to their product."""
        arguments = list(call.arguments.values())
        position = PRODUCTS.get(call.name, 0)
        left, right = map(self._value, arguments[position : position + 2])
        pairs = [(left.data, right.data)]
        if left.is_active and right.is_active:
            pairs = [
                (left.data, self.positive(right.data.shape)),
                (self.positive(left.data.shape), right.data),
            ]
        if call.name == "convolution":
            parts = [aten.convolution(*pair, None, *arguments[3:]) for pair in pairs]
        else:
            parts = [one @ other for one, other in pairs]
        if position and self._value(arguments[0]).is_active:
            parts.append(self._value(arguments[0]).data)
        return self._sum(parts, result)

    def _sum(self, parts: Sequence[Tensor], result: Recorded) -> Tensor:
        """Sum tensors with random positive factors."""
        factors = self.positive([len(parts)]).tolist()
        total = sum(factor * part for factor, part in zip(factors, parts, strict=True))
        if total.is_complex() and not result.is_complex:
            total = total.real + total.imag
        return total.expand(result.shape)


def _plain(value: Any, name: str) -> Any:
    """Return an argument of this name apart from the shadow, flags as such."""
    if not isinstance(value, Tensor):
        return value
    return value != 0 if name in ("condition", "mask") else value.detach().clone()


def _origin(
    call: Call, result: Recorded, operands: Sequence[Value]
) -> tuple[int | None, int | None]:
    """Return root and measured of what a call returns."""
    if len({value.root for value in operands}) != 1:
        return None, None
    operand = operands[0]
    if call.name in REDUCTIONS:
        return None, operand.root
    return operand.root if operand.data.shape == result.shape else None, operand.measured


def double(values: Tensor) -> torch.dtype:
    """Return the double precision dtype of the same kind."""
    return torch.complex128 if values.is_complex() else torch.float64
