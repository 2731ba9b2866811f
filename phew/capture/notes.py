"""Facts about a run that the graph does not hold and the report shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from phew.capture.calls import Call
from phew.capture.parameter_views import ParameterView
from phew.graph.notes import Approximation


@dataclass(frozen=True)
class RunNotes:
    """Collects how operations used parameters, and which operations capture does not know.

    Attributes:
        uses: The first use of each parameter other than as a weight: "add in 'layer1.0'".
        derived: The parameters that a layer's weights are computed from, by name: the operation
            that computes them.
        composed: The parameters that a layer's weights are computed from in such a way that a
            zero in the parameter is none in the weights, by name: "add in 'layer1.0'".
        lookups: Names of the parameters that were looked up by an index.
        approximations: The operations that were replaced by a complete wiring.
    """

    uses: dict[str, str] = field(default_factory=dict)
    derived: dict[str, str] = field(default_factory=dict)
    composed: dict[str, str] = field(default_factory=dict)
    lookups: set[str] = field(default_factory=set)
    approximations: list[Approximation] = field(default_factory=list)

    def add_use(self, call: Call, view: ParameterView) -> None:
        """Note that an operation took a parameter, in case that it turns out to be no weight."""
        module = f" in {call.module!r}" if call.module else ""
        self.uses.setdefault(view.name, f"{call.name}{module}")

    def approximate(self, call: Call, reason: str) -> None:
        """Report that an operation was replaced by a complete wiring."""
        self.approximations.append(Approximation(call.name, call.module, reason))
