"""Follow the units through a model while it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from phew.capture.builder import GraphBuilder
from phew.capture.labels import NO_UNIT, by_position, compact, no_units, raw_labels, varying_dims
from phew.capture.preserve import TensorSaver
from phew.graph import Approximation


@dataclass(frozen=True)
class Call:
    """One operation that ran: what was called, with what, and what it returned."""

    operation: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any

    @property
    def name(self) -> str:
        """The operation's name without overload, e.g. "convolution"."""
        return str(self.operation.overloadpacket.__name__)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors among the arguments, those in lists included."""
        return tensors_in((self.args, dict(self.kwargs)))

    @property
    def outputs(self) -> list[torch.Tensor]:
        """All tensors that were returned."""
        return tensors_in(self.result)


@dataclass(frozen=True)
class ParameterView:
    """A tensor that is a view of a parameter, or a copy of one.

    Attributes:
        name: The parameter's name.
        index: A meta tensor whose size, strides and offset say which element of the contiguous
            parameter each element is.
    """

    name: str
    index: torch.Tensor

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the parameter."""
        storage = self.index.untyped_storage().nbytes()
        return self.index.numel() * self.index.element_size() == storage


class Tracer(TorchDispatchMode):
    """Runs a model's operations, keeps the labels of every activation and builds the walk graph.

    Args:
        model: The model that will run.
        follow: Called after each operation to label what it returned.
        shapes_only: Whether activations and parameters are replaced by meta tensors, which have no
            data. Constants keep their values.
        saver: What protects existing tensors where operations really run.
        included: Names of lookup embeddings that are weights; others are entries.
    """

    def __init__(
        self,
        model: nn.Module,
        follow: Callable[[Tracer, Call], None],
        saver: TensorSaver,
        *,
        shapes_only: bool,
        included: Container[str] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.builder = GraphBuilder()
        self._running: list[str] = []
        self.unit_parameters: dict[str, set[int]] = {}
        self.approximations: list[Approximation] = []
        # Of parameters: the first operation that used each, and how, beside as a weight.
        self.uses: dict[str, str] = {}
        # Of parameters that weights are computed from: by which operation.
        self.derived: dict[str, str] = {}
        # Names of parameters that were looked up by an index.
        self.lookups: set[str] = set()
        self._follow = follow
        self._saver = saver
        self._shapes_only = shapes_only
        self.included = included
        self._clock = 0
        self._num_raw = 0
        # Labels with the time they were set at, and when a tensor was last changed in place.
        self._labels = WeakTensorKeyDictionary()
        self._written = WeakTensorKeyDictionary()
        self._parameter_views = WeakTensorKeyDictionary()
        self._computed = WeakTensorKeyDictionary()
        for name, parameter in model.named_parameters():
            index = torch.empty(parameter.shape, device="meta")
            self._parameter_views[parameter] = ParameterView(name, index)
        for module in model.modules():
            if isinstance(module, ParametrizationList):
                for parameter in module.parameters():
                    self._parameter_views.pop(parameter, None)
                    self.set_computed(parameter)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and follow the units through it."""
        kwargs = kwargs or {}
        tensors = tensors_in((args, dict(kwargs)))
        if any(tensor.is_inference() for tensor in tensors):
            # On inference tensors, composite operations arrive whole.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        if self._shapes_only and any(map(self._has_no_data, tensors)):
            result = _run_on_shapes(func, args, dict(kwargs))
        else:
            # A batch norm's schema does not say that it updates running statistics.
            if func._schema.is_mutable or "batch_norm" in func.name():
                for tensor in tensors:
                    self._saver.before_write(tensor)
            result = func(*args, **kwargs)
        if func.namespace != "prim":
            self._follow(self, Call(func, args, kwargs, result))
        return result

    def _has_no_data(self, tensor: torch.Tensor) -> bool:
        return (
            tensor.is_meta or isinstance(tensor, nn.Parameter) or self.labels_of(tensor) is not None
        )

    def watch(self, model: nn.Module) -> None:
        """Hook onto a model's modules, so that operations can be named by where they are called."""

        def begin(name: str) -> Callable[..., None]:
            return lambda *_: self._running.append(name)

        def end(*_: Any) -> None:
            self._running.pop()

        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            module.register_forward_pre_hook(begin(name))
            # Also where the model catches what a module raises.
            module.register_forward_hook(end, always_call=True)

    def enter(self, inputs: Any) -> Any:
        """Return a model's inputs as it is to be run on, floating-point tensors labelled."""

        def label(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_floating_point():
                return tensor
            stand_in = _without_data(tensor) if self._shapes_only else tensor.detach()
            self.set_labels(stand_in, self.raw_labels(tensor.shape))
            return stand_in

        return tree_map_only(torch.Tensor, label, inputs)

    def raw_labels(self, shape: torch.Size, constant_dims: Iterable[int] = (0,)) -> torch.Tensor:
        """Label a tensor that the model is fed with."""
        labels = raw_labels(shape, NO_UNIT - 1 - self._num_raw, constant_dims)
        self._num_raw += compact(labels).numel()
        return labels

    def exits(self, outputs: Any) -> list[int]:
        """Return the spaces that a model's outputs read."""
        spaces: list[int] = []
        for tensor in _output_tensors(outputs):
            labels = self.labels_of(tensor)
            if labels is not None and bool((labels >= 0).any()):
                spaces.append(self.space_of(labels, varying_dims(labels), "output"))
        return list(dict.fromkeys(spaces))

    def labels_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return a tensor's labels, None for a constant."""
        time, labels = self._labels.get(tensor, (0, None))
        base = tensor._base
        if base is not None and self._written.get(base, 0) > time:
            _, base_labels = self._labels[base]
            # The labels at the base's own strides: the view's strides then find its labels.
            strided = _labels_at_strides_of(base)
            strided.copy_(base_labels)
            offset = tensor.storage_offset() - base.storage_offset()
            return strided.as_strided(tensor.shape, tensor.stride(), offset)
        return labels  # type: ignore[no-any-return]

    def labels_or_constant(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor's labels, those of a constant included."""
        labels = self.labels_of(tensor)
        return no_units(tensor.shape) if labels is None else labels

    def label(self, call: Call, output: torch.Tensor, labels: torch.Tensor) -> None:
        """Label what an operation returned or changed in place."""
        if labels.shape != output.shape:
            raise ValueError(f"labels must be of shape {output.shape}, got {labels.shape}.")
        if call.operation._schema.is_mutable:
            self.write_labels(output, labels)
        elif output.is_floating_point():
            self.set_labels(output, labels)

    def set_labels(self, tensor: torch.Tensor, labels: torch.Tensor) -> None:
        """Label a new tensor."""
        self._clock += 1
        self._labels[tensor] = (self._clock, labels)

    def write_labels(self, tensor: torch.Tensor, labels: torch.Tensor) -> None:
        """Label a tensor that was changed in place, and with it the tensor that it is a view of."""
        base = tensor._base
        if base is not None:
            strided = _labels_at_strides_of(base)
            strided.copy_(self.labels_or_constant(base))
            offset = tensor.storage_offset() - base.storage_offset()
            strided.as_strided(tensor.shape, tensor.stride(), offset).copy_(labels)
            self.set_labels(base, strided)
            self._written[base] = self._clock
        self.set_labels(tensor, labels)
        self._written[tensor] = self._clock

    def parameter_view(self, tensor: Any) -> ParameterView | None:
        """Return which elements of which parameter a tensor consists of, None if it does not."""
        return self._parameter_views.get(tensor) if isinstance(tensor, torch.Tensor) else None

    def set_parameter_view(self, tensor: torch.Tensor, view: ParameterView) -> None:
        """Note that a tensor consists of elements of a parameter."""
        self._parameter_views[tensor] = view

    def is_computed(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor was computed from parameters."""
        return tensor in self._computed

    def set_computed(self, tensor: torch.Tensor) -> None:
        """Note that a tensor was computed from parameters, and is no constant."""
        self._computed[tensor] = True

    def space_of(self, labels: torch.Tensor, dims: list[int], name: str) -> int:
        """Return a space with a unit for each position along `dims`."""
        return self.builder.space_of(by_position(labels, dims), name)

    def own_unit_parameter(self, parameter: Any, space: int) -> None:
        """Note that a whole vector parameter has one element for each unit of a space."""
        view = self.parameter_view(parameter)
        num_units = self.builder.spaces[space].num_units
        if view is not None and view.is_whole and view.index.shape == (num_units,):
            self.unit_parameters.setdefault(view.name, set()).add(space)

    @property
    def running(self) -> str:
        """Name of the module that is running, "" for the model itself."""
        # Script modules cannot be watched.
        return self._running[-1] if self._running else ""

    def approximate(self, operation: str, reason: str) -> None:
        """Report that an operation was replaced by a complete wiring."""
        self.approximations.append(Approximation(operation, self.running, reason))


def _run_on_shapes(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on meta tensors."""
    originals = {}

    def replace(tensor: torch.Tensor) -> torch.Tensor:
        stand_in = _without_data(tensor)
        originals[stand_in] = tensor
        return stand_in

    args, kwargs = tree_map_only(torch.Tensor, replace, (args, kwargs))
    if func.overloadpacket in _ONE_DTYPE and len({tensor.dtype for tensor in originals}) > 1:
        raise TypeError(f"{func.name()} must have arguments of one dtype.")
    if kwargs.get("device") is not None:
        kwargs["device"] = torch.device("meta")
    # What works in place returns its argument.
    return tree_map_only(
        torch.Tensor, lambda result: originals.get(result, result), func(*args, **kwargs)
    )


_aten = torch.ops.aten

_ONE_DTYPE = (_aten.convolution, _aten.addmm, _aten.mm, _aten.linear)
"""Operations that do not check dtypes where there are only shapes."""


def _labels_at_strides_of(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=torch.int32, device="cpu")


def _without_data(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """Return the tensors in nested containers."""
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def _output_tensors(outputs: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in containers, mappings, dataclasses and other objects, cycles or not."""
    seen: set[int] = set()
    waiting = [outputs]
    while waiting:
        value = waiting.pop(0)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif dataclasses.is_dataclass(value):
            waiting += [getattr(value, field.name) for field in dataclasses.fields(value)]
        elif hasattr(value, "__dict__"):
            waiting += vars(value).values()
