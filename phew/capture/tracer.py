"""Follow the units through a model while it runs."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from phew.capture.activations import Activations
from phew.capture.biases import Biases
from phew.capture.builder import GraphBuilder
from phew.capture.by_tensor import ByTensor
from phew.capture.calls import Call, tensors_among, with_replaced
from phew.capture.labels import (
    CONSTANT,
    NO_UNIT,
    by_position,
    compact,
    has_units,
    same_label,
    varying_dims,
)
from phew.capture.modes import (
    CONSTANTS,
    Mode,
    on_cpu,
    with_tests_passed,
)
from phew.capture.notes import RunNotes
from phew.capture.parameter_views import ParameterViews
from phew.capture.random_numbers import RandomNumbers, draws
from phew.capture.readers import Readers
from phew.capture.running_modules import RunningModules
from phew.capture.shapes import run_on_shapes, without_data
from phew.capture.values import Values
from phew.running.failures import add_note
from phew.running.preserve import TensorSaver
from phew.running.tensors import (
    all_tensors,
    may_hold_units,
    with_tensors_replaced,
)


@functools.cache
def _may_write(func: OpOverload) -> bool:
    """Return whether an operation may change tensors that exist."""
    # A batch norm's schema does not say that it updates running statistics.
    return bool(func._schema.is_mutable) or "batch_norm" in func.name()


class Tracer(TorchDispatchMode):
    """Runs a model's operations and follows the units through them.

    Each operation arrives in `__torch_dispatch__`, is run as the mode says, and is handed to
    `follow`, whose rules read and set the labels of tensors and add to the graph.

    Args:
        model: The model that will run.
        follow: Called after each operation to label what it returned.
        saver: Told before operations write to existing tensors, so that these can be put back.
        mode: The kind of tensors that the model runs on.
        made: Gets a reference to each tensor without data that the run makes.
        included: Names of lookup embeddings that are weights; others are entries.

    Attributes:
        builder: The graph under construction.
        activations: The labels of tensors.
        parameters: The tensors that come from parameters.
        values: Tells which tensors have values that are known.
        biases: Tells which activations have values where nothing feeds their units.
        readers: Tells which spaces normalisations read, and which something else reads.
        modules: Tells which modules are running.
        notes: Facts for the report.
        unit_parameters: The vectors with an element per unit, by name: the spaces of the units.
        included: As given.
        results_on_elements: What operations made of single elements, by what these were.
        failure: What a rule raised last; all else that a run raises is the model's.
    """

    def __init__(
        self,
        model: nn.Module,
        follow: Callable[[Tracer, Call], None],
        saver: TensorSaver,
        *,
        mode: Mode,
        made: list[weakref.ref[torch.Tensor]],
        included: Container[str] = (),
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.builder = GraphBuilder()
        self.activations = Activations()
        self.parameters = ParameterViews(model)
        self.values = Values(model, self.activations, self.parameters)
        self.biases = Biases(self.activations, self.values)
        self.readers = Readers(self.activations, self.builder)
        self.modules = RunningModules(model)
        self.notes = RunNotes()
        self.unit_parameters: dict[str, set[int]] = {}
        self.included = included
        self.results_on_elements: dict[str, float | None] = {}
        self.failure: Exception | None = None
        self._follow = follow
        self._saver = saver
        self._mode = mode
        self._made = made
        self._random_numbers = RandomNumbers()
        # Parameters and constants that operations took as activations get labels here.
        self._fed = ByTensor[torch.Tensor]()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and follow the units through it."""
        kwargs = kwargs or {}
        tensors = tensors_among((*args, *kwargs.values()))
        if any(tensor.is_inference() for tensor in tensors):
            # On inference tensors, composite operations arrive whole.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        is_constant = func.overloadpacket in CONSTANTS
        on_shapes = (
            self._mode is Mode.SHAPES
            and not is_constant
            and any(map(self.values.are_missing, tensors))
        )
        is_uncertain = not is_constant and any(map(self.values.are_uncertain, tensors))
        if on_shapes:
            result = run_on_shapes(func, args, dict(kwargs))
            # An operation in place returns its argument.
            old = {id(tensor) for tensor in tensors}
            new = (one for one in tensors_among((result,)) if id(one) not in old)
            self._made += map(weakref.ref, new)
        else:
            result = self._run(func, tensors, args, dict(kwargs))
        call = Call(func, args, kwargs, result, self.modules.innermost)
        if func.namespace != "prim":
            try:
                self._follow(self, call)
            except Exception as error:
                self.failure = error
                add_note(error, f"phew was following {call.place!r}. Please report this.")
                raise
        self._follow_values(call, is_uncertain=is_uncertain, on_shapes=on_shapes)
        return result

    def _run(
        self,
        func: OpOverload,
        tensors: list[torch.Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run an operation on values, which are those of constants alone in shapes mode."""
        if self._mode is Mode.SHAPES:
            # A constant has values, on the CPU, also where a model makes it on the meta device.
            args = with_replaced(torch.Tensor, on_cpu, args)
            if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "meta":
                kwargs["device"] = torch.device("cpu")
        elif self._mode is Mode.TESTS_PASSED:
            args = with_tests_passed(func, args, self.values.are_uncertain)
        if _may_write(func):
            for tensor in tensors:
                self._saver.before_write(tensor)
        return self._random_numbers.run(func, args, kwargs)

    def _follow_values(self, call: Call, *, is_uncertain: bool, on_shapes: bool) -> None:
        """Note where the values of results, and of what was changed in place, are not known."""
        is_drawn = draws(call.operation) or any(map(self.values.are_drawn, call.tensors))
        for output in call.outputs:
            changed = [output]
            if call.is_in_place and output._base is not None:
                changed.append(output._base)
            for tensor in changed:
                if is_uncertain:
                    self.values.set_uncertain(tensor)
                if is_drawn:
                    self.values.set_drawn(tensor)
                if on_shapes and call.is_in_place:
                    self.values.set_overwritten(tensor)

    def enter(self, inputs: Any) -> Any:
        """Label the floating-point tensors among a model's inputs; return what it is to run on."""

        def label(tensor: torch.Tensor) -> torch.Tensor:
            if not may_hold_units(tensor):
                self.values.set_uncertain(tensor)
                return tensor
            stand_in = without_data(tensor) if self._mode is Mode.SHAPES else tensor.detach()
            if stand_in is not tensor:
                self._made.append(weakref.ref(stand_in))
            self.activations.set_labels(stand_in, self.activations.raw_labels(tensor.shape))
            return stand_in

        return with_tensors_replaced(label, inputs)

    def exits(self, outputs: Any) -> list[int]:
        """Return the spaces that a model's outputs read."""
        spaces: list[int] = []
        for tensor in all_tensors(outputs):
            labels = self.activations.labels_of(tensor)
            if labels is not None and has_units(labels):
                rows = by_position(labels, varying_dims(labels))
                spaces.append(self.builder.find_or_add_space(rows, "output"))
        return list(dict.fromkeys(spaces))

    def labels_or_constant(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor's labels, those of a constant included."""
        labels = self.activations.labels_of(tensor)
        if labels is not None:
            return labels
        is_zero = self.values.are_known(tensor) and not tensor.any()
        return same_label(NO_UNIT if is_zero else CONSTANT, tensor.shape)

    def feed(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the labels of a tensor that an operation takes as activation.

        A parameter or constant without labels is input by itself, unless it is zero.
        """
        labels = self._fed.get(tensor)
        if labels is None:
            labels = self.labels_or_constant(tensor)
            if bool((compact(labels) == CONSTANT).all()):
                labels = self.activations.raw_labels(tensor.shape)
                self._fed[tensor] = labels
        return labels

    def label(self, call: Call, output: torch.Tensor, labels: torch.Tensor) -> None:
        """Label a tensor that an operation returned or changed in place."""
        if labels.shape != output.shape:
            raise ValueError(f"labels must be of shape {output.shape}, got {labels.shape}.")
        if call.is_in_place:
            base = output._base
            base_labels = None if base is None else self.labels_or_constant(base)
            self.activations.write_labels(output, labels, base_labels)
        elif may_hold_units(output) or has_units(labels):
            # Flags of raw input, such as those of padding, hold no units, as integer inputs do not.
            self.activations.set_labels(output, labels)

    def own_unit_parameter(self, parameter: Any, space: int) -> None:
        """Note that a whole vector parameter has one element for each unit of a space."""
        view = self.parameters.view_of(parameter)
        num_units = self.builder.spaces.num_units(space)
        if view is not None and view.is_whole and view.index.shape == (num_units,):
            self.unit_parameters.setdefault(view.name, set()).add(space)
