"""What walks depend on beside the graph and its weights."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Fork: TypeAlias = Literal["uniform", "mass"]
Granularity: TypeAlias = Literal["weight", "kernel"]
Power: TypeAlias = Literal[1, 0, 2, -1]


@dataclass(frozen=True)
class Options:
    """The options of the walks, checked (see `phew.sample_masks`)."""

    seed: int = 0
    fork: Fork = "uniform"
    granularity: Granularity = "weight"
    power: Power = 1

    def __post_init__(self) -> None:
        for name in ("seed", "power"):
            object.__setattr__(self, name, as_integer(name, getattr(self, name)))
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in [0, 2^64), got {self.seed}.")
        for name, kind, choices in (
            ("fork", str, get_args(Fork)),
            ("granularity", str, get_args(Granularity)),
            ("power", int, get_args(Power)),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind) or value not in choices:
                expected = ", ".join(map(repr, choices))
                raise ValueError(f"{name} must be one of {expected}, got {value!r}.")


def as_integer(name: str, value: object) -> int:
    """Return an argument that must be an integer, of Python or another library, as an int."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"{name} must be an integer, got {value!r}.")
