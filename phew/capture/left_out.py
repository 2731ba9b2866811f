"""The weights that the run of a model leaves out of every path, and what capture warns of."""

from __future__ import annotations

from phew.graph.notes import ApproximationWarning, CaptureNotes, LeftDenseWarning
from phew.graph.reach import leading_units
from phew.graph.walk_graph import WalkGraph
from phew.support.warn import listed, warn_caller


def off_every_path(graph: WalkGraph) -> set[str]:
    """Return the names of parameters of which no weight is on a path from an entry to an exit.

    A head whose result the model does not return is one. If the graph has no path at all, none is
    returned: walking says so.
    """
    leading = leading_units(graph)
    on_a_path = {link.parameter for index, link in graph.weighted.items() if leading[index].any()}
    with_weights = {name for name, parameter in graph.parameters.items() if parameter.numel()}
    has_path = any(graph.live[space].any() for space in graph.entries)
    return with_weights - on_a_path if has_path else set()


def warn_of(notes: CaptureNotes) -> None:
    """Warn, at the line of the caller, of weights that are left dense and of approximations."""
    reasons: dict[str, list[str]] = {}
    for name in notes.left_dense:
        reasons.setdefault(notes.not_prunable[name], []).append(repr(name))
    if reasons:
        parts = [f"{listed(names)}: {reason}." for reason, names in reasons.items()]
        warn_caller(
            f"phew leaves weights dense. {' '.join(parts)} Name them in exclude if that is meant.",
            LeftDenseWarning,
        )
    if notes.approximations:
        names = listed(map(str, notes.approximations))
        warn_caller(
            f"phew does not know the exact wiring of {names}: taken as a complete one "
            "(phew.inspect says why).",
            ApproximationWarning,
        )
