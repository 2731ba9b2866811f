"""What walks depend on beside the graph and its weights."""

from __future__ import annotations

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
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise TypeError(f"seed must be an integer, got {self.seed!r}.")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be in [0, 2^64), got {self.seed}.")
        for name, value, choices in (
            ("fork", self.fork, get_args(Fork)),
            ("granularity", self.granularity, get_args(Granularity)),
            ("power", self.power, get_args(Power)),
        ):
            if value not in choices:
                expected = ", ".join(map(repr, choices))
                raise ValueError(f"{name} must be one of {expected}, got {value!r}.")
