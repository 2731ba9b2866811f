"""The notes of capture: approximations, and parameters that are not prunable.

No walk depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from phew.support.warn import PhewWarning


class ApproximationWarning(PhewWarning):
    """Warns of operations whose exact wiring phew does not know."""


class LeftDenseWarning(PhewWarning):
    """Warns of weights that are not pruned, or not made sparse, though nobody asked for that."""


@dataclass(frozen=True)
class Approximation:
    """An operation that capture replaced by a complete wiring.

    Attributes:
        operation: The operation's name, e.g. "cumsum".
        module: Name of the module that called it, "" for the model itself.
        reason: Why its exact wiring is not known.
    """

    operation: str
    module: str
    reason: str

    def __str__(self) -> str:
        return self.operation + (f" in {self.module!r}" if self.module else "")


@dataclass(frozen=True)
class CaptureNotes:
    """The operations that capture approximated, and the parameters that are not prunable.

    Attributes:
        approximations: Operations that capture replaced by a complete wiring.
        not_prunable: The parameters of the model that are not prunable, by name: the reason.
        left_dense: Names of those among them that the caller may have expected to be pruned: no
            path of the run leads through them, or the weights of layers are computed from them.
        derived: Prunable parameters that a layer's weights are computed from, by name: the
            operation that computes them, e.g. a weight norm.
        normalised: Prunable parameters that are divided by a norm of theirs, by name: the
            dimensions that the norm sums over. A row along these that has no weight is 0 / 0.
    """

    approximations: tuple[Approximation, ...] = ()
    not_prunable: Mapping[str, str] = field(default_factory=dict)
    left_dense: tuple[str, ...] = ()
    derived: Mapping[str, str] = field(default_factory=dict)
    normalised: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
