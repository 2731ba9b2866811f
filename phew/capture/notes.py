"""Facts about a run that the graph does not hold and the report shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from phew.capture.calls import Call
from phew.graph.notes import Approximation


@dataclass(frozen=True)
class RunNotes:
    """Collects how operations used parameters, and which operations capture does not know.

    Attributes:
        uses: The first use of each parameter other than as a weight: "add in 'layer1.0'".
        derived: The parameters that a layer's weights are computed from, by name: the operation
            that computes them.
        composed: The parameters that a layer's weights are composed of, by name, so that no weight
            is zero where an element of them is: the operation that composes them.
        normalised: The parameters that are divided by a norm of theirs, by name: the dimensions
            that the norm sums over.
        lookups: Names of the parameters that were looked up by an index.
        approximations: The operations that were replaced by a complete wiring.
    """

    uses: dict[str, str] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=dict)
    composed: dict[str, str] = field(default_factory=dict)
    normalised: dict[str, tuple[int, ...]] = field(default_factory=dict)
    lookups: set[str] = field(default_factory=set)
    approximations: list[Approximation] = field(default_factory=list)

    def add_use(self, call: Call, name: str) -> None:
        """Note that an operation took a parameter, in case that it turns out to be no weight."""
        self.uses.setdefault(name, call.site)

    def add_norm(self, name: str, dims: tuple[int, ...]) -> None:
        """Note that a parameter is divided by a norm; of several, the one of the shortest rows."""
        self.normalised[name] = min(dims, self.normalised.get(name, dims), key=len)

    def approximate(self, call: Call, reason: str) -> None:
        """Report that an operation was replaced by a complete wiring."""
        self.approximations.append(Approximation(call.name, call.module, reason))
