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
        inverted: The parameters of which an inverse or a determinant is computed, by name: the
            operation, e.g. "linalg_inv_ex in 'flow.0'".
        normalised: The parameters that are divided by a norm of theirs, by name: the dimensions
            that the norm sums over, or all of several norms.
        lookups: Names of the parameters that were looked up by an index.
        approximations: The operations that were replaced by a complete wiring.
    """

    uses: dict[str, str] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=dict)
    composed: dict[str, str] = field(default_factory=dict)
    inverted: dict[str, str] = field(default_factory=dict)
    normalised: dict[str, tuple[int, ...]] = field(default_factory=dict)
    lookups: set[str] = field(default_factory=set)
    approximations: list[Approximation] = field(default_factory=list)

    def add_use(self, call: Call, name: str) -> None:
        """Note that an operation took a parameter, in case that it turns out to be no weight."""
        self.uses.setdefault(name, call.site)

    def add_norm(self, call: Call, name: str, dims: tuple[int, ...]) -> None:
        """Note that a parameter is divided by a norm, which sums over some of its dimensions.

        Each row of a second norm, over dimensions 1 2 3 after 0 2 3, consists of rows along 2 3: if
        none of these is empty, no row is. Norms that have no dimension in common, as those of the
        rows and of the columns of a matrix, leave no weight to be pruned.
        """
        others = self.normalised.get(name, dims)
        self.normalised[name] = common = tuple(dim for dim in dims if dim in others)
        if dims and others and not common:
            self.composed.setdefault(name, call.site)

    def approximate(self, call: Call, reason: str) -> None:
        """Report that an operation was replaced by a complete wiring."""
        self.approximations.append(Approximation(call.name, call.module, reason))
