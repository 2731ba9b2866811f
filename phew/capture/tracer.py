"""Follow the units through a model while it runs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.nn.utils.parametrize import ParametrizationList
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from phew.capture.builder import GraphBuilder
from phew.capture.calls import Call, ParameterView
from phew.capture.labels import (
    CONSTANT,
    NO_UNIT,
    by_position,
    compact,
    has_units,
    raw_labels,
    same_label,
    varying_dims,
)
from phew.capture.modes import (
    CONSTANTS,
    TESTS,
    Mode,
    as_passed,
    on_cpu,
    run_on_shapes,
    without_data,
)
from phew.graph.notes import Approximation
from phew.running.preserve import TensorSaver
from phew.running.tensors import may_hold_units, output_tensors, tensors_in


class MissingValuesError(ValueError):
    """Raised where units are chosen by the values of a constant that has none."""


class Tracer(TorchDispatchMode):
    """Runs a model's operations, keeps the labels of every activation and builds the walk graph.

    Args:
        model: The model that will run.
        follow: Called after each operation to label what it returned.
        mode: What the model runs on.
        saver: What protects existing tensors where operations really run.
        included: Names of lookup embeddings that are weights; others are entries.
    """

    def __init__(
        self,
        model: nn.Module,
        follow: Callable[[Tracer, Call], None],
        saver: TensorSaver,
        *,
        mode: Mode,
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
        self._mode = mode
        self._shapes_only = mode is Mode.SHAPES
        self.included = included
        self._clock = 0
        self._num_raw = 0
        # Labels with the time they were set at, and when a tensor was last changed in place.
        self._labels = WeakTensorKeyDictionary()
        self._written = WeakTensorKeyDictionary()
        self._parameter_views = WeakTensorKeyDictionary()
        self._computed = WeakTensorKeyDictionary()
        self._fed = WeakTensorKeyDictionary()
        # Tensors whose values follow from the model's input, and may be others for another.
        self._uncertain = WeakTensorKeyDictionary()
        # Constants that what has no data was written into: their values are not what they were.
        self._overwritten = WeakTensorKeyDictionary()
        self._buffers = {id(buffer): name for name, buffer in model.named_buffers()}
        for name, parameter in model.named_parameters():
            index = torch.empty(parameter.shape, device="meta")
            self._parameter_views[parameter] = ParameterView.of(name, index)
        self._parametrizations = {
            name
            for name, module in model.named_modules()
            if isinstance(module, ParametrizationList)
        }

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
        is_constant = func.overloadpacket in CONSTANTS
        on_shapes = self._shapes_only and not is_constant and any(map(self._has_no_data, tensors))
        is_uncertain = not is_constant and any(map(self.is_uncertain, tensors))
        if on_shapes:
            result = run_on_shapes(func, args, dict(kwargs))
        else:
            result = self._run(func, tensors, args, dict(kwargs))
        if func.namespace != "prim":
            self._follow(self, Call(func, args, kwargs, result, self.running))
        for output in tensors_in(result):
            changed = [output]
            if func._schema.is_mutable and output._base is not None:
                changed.append(output._base)
            for tensor in changed:
                if is_uncertain:
                    self._uncertain[tensor] = True
                if on_shapes and func._schema.is_mutable:
                    self._overwritten[tensor] = True
        return result

    def _run(
        self,
        func: OpOverload,
        tensors: list[torch.Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if self._shapes_only:
            # What a model makes beside its activations, on their device, has values.
            args = tree_map_only(torch.Tensor, on_cpu, args)
            if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "meta":
                kwargs["device"] = torch.device("cpu")
        elif self._mode is Mode.TESTS_PASSED and func.overloadpacket in TESTS:
            kinds = TESTS[func.overloadpacket]
            args = tree_map_only(
                torch.Tensor,
                lambda tensor: (
                    as_passed(tensor)
                    if tensor.dtype in kinds and self.is_uncertain(tensor)
                    else tensor
                ),
                args,
            )
        # A batch norm's schema does not say that it updates running statistics.
        if func._schema.is_mutable or "batch_norm" in func.name():
            for tensor in tensors:
                self._saver.before_write(tensor)
        return func(*args, **kwargs)

    def _has_no_data(self, tensor: torch.Tensor) -> bool:
        return (
            tensor.is_meta
            or isinstance(tensor, nn.Parameter)
            or tensor in self._overwritten
            or self.labels_of(tensor) is not None
        )

    def has_values(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor is a constant whose values are known, whatever the input."""
        return not (
            self._has_no_data(tensor)
            or self.is_uncertain(tensor)
            or self.is_computed(tensor)
            or self.parameter_view(tensor) is not None
        )

    def check_has_values(self, tensor: torch.Tensor) -> None:
        """Refuse a constant on the meta device where its values say which units are joined.

        Raises:
            MissingValuesError: If it is one.
        """
        if (
            not tensor.is_meta
            or self.is_uncertain(tensor)
            or self.is_computed(tensor)
            or self.parameter_view(tensor) is not None
        ):
            return
        name = self._buffers.get(id(tensor))
        where = f" in {self.running!r}" if self.running else ""
        what = f"buffer {name!r}" if name else f"a constant{where}"
        raise MissingValuesError(
            f"model must hold the values of {what}, which say which units are joined, got one on "
            "the meta device. Build the model, or its buffers alone, without torch.device('meta')."
        )

    def watch(self, model: nn.Module) -> None:
        """Hook onto a model's modules, so that operations can be named by where they are called."""

        def begin(name: str) -> Callable[..., None]:
            return lambda *_: self._running.append(name)

        def end(*_: Any) -> None:
            # A hook before this module's may have raised.
            if self._running:
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
            if not may_hold_units(tensor):
                self._uncertain[tensor] = True
                return tensor
            stand_in = without_data(tensor) if self._shapes_only else tensor.detach()
            self.set_labels(stand_in, self.raw_labels(tensor.shape))
            return stand_in

        return tree_map_only(torch.Tensor, label, inputs)

    def raw_labels(self, shape: torch.Size, constant_dims: Iterable[int] = (0,)) -> torch.Tensor:
        """Label a tensor that the model is fed with."""
        labels = raw_labels(shape, CONSTANT - 1 - self._num_raw, constant_dims)
        self._num_raw += compact(labels).numel()
        return labels

    def exits(self, outputs: Any) -> list[int]:
        """Return the spaces that a model's outputs read."""
        spaces: list[int] = []
        for tensor in output_tensors(outputs):
            labels = self.labels_of(tensor)
            if labels is not None and has_units(labels):
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
        if labels is not None:
            return labels
        is_zero = self.has_values(tensor) and not tensor.any()
        return same_label(NO_UNIT if is_zero else CONSTANT, tensor.shape)

    def feed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the labels of what an operation takes as activation.

        A parameter or constant without labels is input by itself, unless it is zero.
        """
        labels: torch.Tensor | None = self._fed.get(tensor)
        if labels is None:
            labels = self.labels_or_constant(tensor)
            if bool((compact(labels) == CONSTANT).all()):
                labels = self.raw_labels(tensor.shape)
                self._fed[tensor] = labels
        return labels

    def label(self, call: Call, output: torch.Tensor, labels: torch.Tensor) -> None:
        """Label what an operation returned or changed in place."""
        if labels.shape != output.shape:
            raise ValueError(f"labels must be of shape {output.shape}, got {labels.shape}.")
        if call.operation._schema.is_mutable:
            self.write_labels(output, labels)
        elif may_hold_units(output):
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

    def forget_parameter_view(self, tensor: torch.Tensor) -> None:
        """Note that a tensor that was changed in place is no longer a copy of a parameter."""
        for part in (tensor, tensor._base):
            if part is not None and not isinstance(part, nn.Parameter):
                self._parameter_views.pop(part, None)
                self.set_computed(part)

    def is_computed(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor was computed from parameters."""
        return tensor in self._computed

    def set_computed(self, tensor: torch.Tensor) -> None:
        """Note that a tensor was computed from parameters, and is no constant."""
        self._computed[tensor] = True

    def is_uncertain(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor's values follow from the model's input."""
        return tensor in self._uncertain or self.labels_of(tensor) is not None

    def space_of(
        self, labels: torch.Tensor, dims: list[int], name: str, *, num_copies: int = 1
    ) -> int:
        """Return a space with a unit for each position along `dims`."""
        return self.builder.read(by_position(labels, dims), name, num_copies=num_copies)

    def note_uses(self, call: Call) -> None:
        """Note which parameters an operation took, for those that turn out to be no weights."""
        for tensor in call.tensors:
            view = self.parameter_view(tensor)
            if view is not None:
                module = f" in {self.running!r}" if self.running else ""
                self.uses.setdefault(view.name, f"{call.name}{module}")

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

    @property
    def is_parametrizing(self) -> bool:
        """Whether what runs computes weights from parameters."""
        return not self._parametrizations.isdisjoint(self._running)

    def approximate(self, operation: str, reason: str) -> None:
        """Report that an operation was replaced by a complete wiring."""
        self.approximations.append(Approximation(operation, self.running, reason))


def _labels_at_strides_of(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=torch.int32, device="cpu")
