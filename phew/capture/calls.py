"""One call of an operation, as the rules for operations are given it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._ops import OpOverload


@dataclass(eq=False)
class Call:
    """One operation that ran.

    Attributes:
        operation: The operation.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        result: What it returned.
        module: Name of the module that called it, "" for the model itself.
        name: The operation's name without overload, e.g. "convolution".
        is_in_place: Whether the operation changes its arguments.
        tensors: All tensors among the arguments, lists included, but not those that are only
            written.
        outputs: All tensors that were returned.
    """

    operation: OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    module: str
    name: str = field(init=False)
    is_in_place: bool = field(init=False)
    tensors: list[torch.Tensor] = field(init=False)
    outputs: list[torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        # Every rule asks for these, so they are found once.
        self.name = str(self.operation.overloadpacket.__name__)
        self.is_in_place = bool(self.operation._schema.is_mutable)
        read = [value for name, value in self.kwargs.items() if not name.startswith("out")]
        self.tensors = tensors_among((*self.args, *read))
        self.outputs = tensors_among((self.result,))

    @property
    def place(self) -> str:
        """The operation's name after that of the module that called it."""
        return f"{self.module}.{self.name}" if self.module else self.name

    @property
    def site(self) -> str:
        """The operation's name, and that of the module that called it: "add in 'layer1'"."""
        return f"{self.name} in {self.module!r}" if self.module else self.name

    def argument(self, name: str) -> Any:
        """Return the argument of a name in the operation's schema, None if it has none."""
        for position, argument in enumerate(self.operation._schema.arguments):
            if argument.name == name:
                given = self.args[position] if position < len(self.args) else argument.default_value
                return self.kwargs.get(name, given)
        return None


def tensors_among(values: Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors in what an operation takes or returns, which nests lists and tuples alone.

    This and `with_replaced` are called for every operation, and take a tenth of the time of torch's
    `tree_flatten` and `tree_map`.
    """
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_among(value)
    return found


def with_replaced(kind: type[Any], replace: Callable[[Any], Any], value: Any) -> Any:
    """Return what an operation takes or returns with all of a kind replaced."""
    if isinstance(value, kind):
        return replace(value)
    if isinstance(value, list | tuple):
        return type(value)([with_replaced(kind, replace, part) for part in value])
    if isinstance(value, dict):
        return {name: with_replaced(kind, replace, part) for name, part in value.items()}
    return value
