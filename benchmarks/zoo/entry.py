"""Entries of the zoo: how to build a model, and the inputs that it accepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

Inputs: TypeAlias = tuple[Any, ...] | dict[str, Any]
"""Positional or keyword arguments of a model."""


class Entry(NamedTuple):
    """A model of the zoo and its inputs, made anew by each call."""

    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]


def normal(*shapes: tuple[int, ...]) -> Callable[[], Inputs]:
    """Make a factory of positional inputs of these shapes."""
    return lambda: tuple(torch.randn(shape, generator=seeded()) for shape in shapes)


def image(size: int) -> Callable[[], Inputs]:
    """Make a factory of one square image, three channels."""
    return normal((1, 3, size, size))


def tokens(*shape: int, below: int, at_least: int = 0) -> Tensor:
    """Draw indices of an embedding."""
    return torch.randint(at_least, below, shape, generator=seeded())


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
