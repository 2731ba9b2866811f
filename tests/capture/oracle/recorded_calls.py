"""Records a model's operations as torch dispatches them, below its Python interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class Recorded:
    """A tensor of the recorded run that is floating or complex, or follows from such tensors.

    Attributes:
        key: Its identity.
        shape: Its shape.
        is_complex: Whether it is complex.
        flags: The values of flags and integers, which are needed where they choose elements.
    """

    key: int
    shape: torch.Size
    is_complex: bool
    flags: Tensor | None = None


@dataclass(frozen=True)
class Call:
    """A dispatched operation.

    Attributes:
        function: The operation.
        arguments: Its arguments by name, defaults too. Integers of no recorded tensor are kept by
            value.
        results: Its results in order.
    """

    function: Any
    arguments: dict[str, Any]
    results: list[Any]

    @property
    def is_in_place(self) -> bool:
        """Whether it works in place on its first argument."""
        schema = self.function._schema
        return bool(schema.is_mutable) and schema.name.endswith("_")

    @property
    def name(self) -> str:
        """Its name, the same in place or not."""
        name: str = self.function._schema.name.partition("::")[2]
        return name.rstrip("_") if self.is_in_place else name


class Recorder(TorchDispatchMode):
    """Records calls.

    Attributes:
        calls: The calls in order.
        constants: Tensors that no call made, and copies of them from before they were changed.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.constants: dict[int, tuple[Tensor, Tensor]] = {}
        self._alive: dict[int, Tensor] = {}  # so that no identity is used twice

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        schema = func._schema.arguments
        values = {argument.name: argument.default_value for argument in schema} | kwargs
        values |= zip([argument.name for argument in schema], args, strict=False)
        arguments = tree_map(self._argument, values)
        result = func(*args, **kwargs)
        results = list(result) if isinstance(result, list | tuple) else [result]
        if any(isinstance(leaf, Recorded) for leaf in tree_leaves(arguments)):
            for tensor in tree_leaves(results):
                if isinstance(tensor, Tensor):
                    self._alive[id(tensor)] = tensor
        self.calls.append(Call(func, arguments, tree_map(self._keep, results)))
        return result

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Tensor) and is_floating(value) and id(value) not in self._alive:
            copy = value if isinstance(value, nn.Parameter) else value.clone()
            self.constants[id(value)] = (value, copy)
        return self._keep(value)

    def _keep(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if not is_floating(value):
            flags = value.clone()
            recorded = id(value) in self._alive
            return Recorded(id(value), value.shape, False, flags) if recorded else flags
        self._alive[id(value)] = value
        return Recorded(id(value), value.shape, value.is_complex())


def is_floating(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


@contextmanager
def written_out() -> Iterator[None]:
    """Keep torch from fusing attention and recurrent layers."""
    fast_path, onednn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        torch._C._set_mkldnn_enabled(onednn)


def record(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Recorder, Any]:
    """Run a model; return what it did and its outputs."""
    recorder = Recorder()
    with torch.no_grad(), written_out(), recorder:
        return recorder, model(*args, **kwargs)
