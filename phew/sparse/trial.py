"""One run of a model before its layers change: how often each weight is used, and who reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from phew.distributed.sharding import is_sharded
from phew.running.as_written import as_written
from phew.running.call import as_call
from phew.running.example_inputs import described_inputs
from phew.running.parts import parts_of
from phew.running.preserve import TensorSaver, preserved
from phew.running.tensors import all_tensors, tensors_in
from phew.sparse.code_reads import HARMLESS, read_in_code


@dataclass(frozen=True)
class Trial:
    """The findings of a run of a model on its layers.

    Attributes:
        num_uses: How often each weight of a layer was used, by the layer's id.
        read: Ids of layers whose weight was read outside of their forward; if the model did not
            run, of those that code reads so.
        note: Why the model did not run; None if it did.
    """

    num_uses: Mapping[int, int]
    read: Container[int] = ()
    note: str | None = None


def trial_of(model: nn.Module, layers: Iterable[nn.Module], example_inputs: Any) -> Trial:
    """Run a model once, in evaluation mode, and leave it as it was.

    Args:
        model: The model.
        layers: The layers to watch, whose outputs have their channels in the second dimension, or
            in the last one where they are linear.
        example_inputs: What the model accepts, or None for what it describes.

    Raises:
        ValueError: If the model does not accept the example inputs.
    """
    if any(map(is_sharded, model.parameters())):
        return _no_run(model, "the model is sharded")
    if any(map(is_lazy, model.parameters())):
        return _no_run(model, "the model has parameters without a shape, which a run would make")
    is_given = example_inputs is not None
    try:
        args, kwargs = as_call(example_inputs if is_given else described_inputs(model))
    except ValueError:
        return _no_run(model, "example_inputs were not given")
    try:
        return _run(model, layers, args, kwargs)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        if not is_given:
            return _no_run(model, f"the model does not accept what it describes, {told}")
        raise ValueError(f"example_inputs must be accepted by the model, got {told}") from error


def _no_run(model: nn.Module, note: str) -> Trial:
    return Trial({}, read_in_code(model), note)


def _run(
    model: nn.Module, layers: Iterable[nn.Module], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Trial:
    watch = _Watch(layers)
    with preserved(parts_of(model), all_tensors((args, kwargs))) as saver:
        for module in model.modules():
            module.training = False
        with as_written(gradients=False, casts=True), watch.hooked(), watch, _Saving(saver):
            model(*args, **kwargs)
    return Trial(watch.num_uses, watch.read)


class _Watch(TorchFunctionMode):
    """Sees which functions take the weights of layers, inside and outside of their forward."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self._layers = list(layers)
        self._owners = {id(layer.weight): id(layer) for layer in self._layers}
        self._running: Counter[int] = Counter()
        self.num_uses: dict[int, int] = {id(layer): 0 for layer in self._layers}
        self.read: set[int] = set()

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Watch the calls of the layers."""
        with ExitStack() as stack:
            for layer in self._layers:
                stack.callback(layer.register_forward_pre_hook(self._enter, prepend=True).remove)
                hook = layer.register_forward_hook(self._leave, prepend=True, always_call=True)
                stack.callback(hook.remove)
            yield

    def _enter(self, layer: nn.Module, args: object) -> None:
        self._running[id(layer)] += 1

    def _leave(self, layer: nn.Module, args: object, output: Any) -> None:
        self._running[id(layer)] -= 1
        if isinstance(output, torch.Tensor):
            # Each weight of an output channel is used once for each of the channel's elements.
            channels = getattr(layer, "out_channels", None)
            self.num_uses[id(layer)] += output.numel() // (channels or output.shape[-1])

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        kwargs = kwargs or {}
        if not _is_harmless(func):
            for tensor in tensors_in((args, dict(kwargs))):
                layer = self._owners.get(id(tensor))
                if layer is not None and not self._running[layer]:
                    self.read.add(layer)
        return func(*args, **kwargs)


def _is_harmless(func: Callable[..., Any]) -> bool:
    attribute = getattr(func, "__self__", None)
    return getattr(attribute, "__name__", None) in HARMLESS


class _Saving(TorchDispatchMode):
    """Saves tensors before operations write to them."""

    def __init__(self, saver: TensorSaver) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._saver = saver

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call an operation."""
        kwargs = kwargs or {}
        for argument, value in zip(func._schema.arguments, args, strict=False):
            self._before(argument, value)
        for argument in func._schema.arguments:
            if argument.name in kwargs:
                self._before(argument, kwargs[argument.name])
        return func(*args, **kwargs)

    def _before(self, argument: Any, value: Any) -> None:
        if argument.alias_info is not None and argument.alias_info.is_write:
            for tensor in tensors_in(value):
                self._saver.before_write(tensor)
