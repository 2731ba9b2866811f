"""One call of an operation, as the rules for operations are given it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch._ops import OpOverload


@dataclass(frozen=True)
class Call:
    """One operation that ran.

    Attributes:
        operation: The operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        result: What it returned.
        module: Name of the module that called it, "" for the model itself.
    """

    operation: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    module: str

    @property
    def name(self) -> str:
        """The operation's name without overload, e.g. "convolution"."""
        return str(self.operation.overloadpacket.__name__)

    @property
    def place(self) -> str:
        """The operation's name after that of the module that called it."""
        return f"{self.module}.{self.name}" if self.module else self.name

    @property
    def site(self) -> str:
        """The operation's name, and that of the module that called it: "add in 'layer1'"."""
        return f"{self.name} in {self.module!r}" if self.module else self.name

    @property
    def is_in_place(self) -> bool:
        """Whether the operation changes its arguments."""
        return bool(self.operation._schema.is_mutable)

    def argument(self, name: str) -> Any:
        """Return the argument of a name in the operation's schema, None if it has none."""
        for position, argument in enumerate(self.operation._schema.arguments):
            if argument.name == name:
                given = self.args[position] if position < len(self.args) else argument.default_value
                return self.kwargs.get(name, given)
        return None

    @cached_property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors among the arguments, lists included, but not those that are only written."""
        read = [value for name, value in self.kwargs.items() if not name.startswith("out")]
        return list(_tensors_in((self.args, read)))

    @cached_property
    def outputs(self) -> list[torch.Tensor]:
        """All tensors that were returned."""
        return list(_tensors_in(self.result))


def _tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in what an operation takes or returns, which nests lists and tuples alone.

    It is called for every operation, and takes a tenth of the time of torch's `tree_flatten`.
    """
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors_in(part)
