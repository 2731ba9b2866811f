"""What the rules for operations are told: the call, and the weights among its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload

from phew.running.tensors import tensors_in


@dataclass(frozen=True)
class Call:
    """One operation that ran: what was called, with what, and what it returned."""

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

    def argument(self, name: str) -> Any:
        """Return the argument of a name in the operation's schema, None if it has none."""
        for position, argument in enumerate(self.operation._schema.arguments):
            if argument.name == name:
                given = self.args[position] if position < len(self.args) else argument.default_value
                return self.kwargs.get(name, given)
        return None

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors among the arguments, those in lists included; not what is only written."""
        read = {name: value for name, value in self.kwargs.items() if not name.startswith("out")}
        return tensors_in((self.args, read))

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
        shape: The tensor's shape. It may merge dimensions of the index, where a copy has brought
            together what one stride cannot step through.
    """

    name: str
    index: torch.Tensor
    shape: torch.Size

    @classmethod
    def of(cls, name: str, index: torch.Tensor) -> ParameterView:
        """Return the view that an index stands for."""
        return cls(name, index, index.shape)

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the parameter."""
        storage = self.index.untyped_storage().nbytes()
        return self.index.numel() * self.index.element_size() == storage
