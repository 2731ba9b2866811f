"""The options of walks, on which masks depend beside the graph, its weights and the density."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from phew.arguments import as_integer

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

    @property
    def reads_weights(self) -> bool:
        """Whether walks depend on the weights: those of power 0 take all edges of a unit alike."""
        return self.power != 0
