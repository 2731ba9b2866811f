"""Graphs and numbers as `phew._core`, which knows neither torch nor Python's graph, takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

import phew._core as _core
from phew.graph.links import Link, WeightedLink
from phew.graph.walk_graph import WalkGraph
from phew.walks.options import Options

Visits: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Numbers of weights (see `WalkGraph.first_numbers`) and of the walks that visit them, int64."""

Flows: TypeAlias = tuple[_core.Flow, _core.Flow]
"""The exact flows of forward and of backward walks."""


Degrees: TypeAlias = npt.NDArray[np.uint32]
"""A number of edges per unit."""


class NotFiniteError(ValueError):
    """Raised where a parameter holds infinite or NaN weights.

    Attributes:
        parameter: Its name.
    """

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


def check_finite(graph: WalkGraph, measures: Sequence[_core.LinkMeasure]) -> None:
    """Raise NotFiniteError if the engine has measured a weight that is infinite or NaN."""
    for index, link in graph.weighted.items():
        if not measures[index].is_finite:
            raise NotFiniteError(
                link.parameter,
                f"parameter {link.parameter!r} must hold finite weights, got NaN or infinity. "
                "Initialise it; walks pass through it even where it is excluded.",
            )


def weights_changed(parameters: Iterable[str]) -> RuntimeError:
    """Return the error to raise where parameters are no longer those that were measured."""
    names = " or ".join(map(repr, dict.fromkeys(parameters)))
    return RuntimeError(
        f"weights must not change while walks follow them, but those of {names} have changed since "
        "they were measured. Wait until whatever trains, loads or moves the model is done, or "
        "sample masks of a copy of it."
    )


@contextmanager
def naming_what_changed(graph: WalkGraph) -> Iterator[None]:
    """Give the error of an engine that finds changed weights the name of their parameter.

    Raises:
        RuntimeError: If the mass of a unit that a walk passed is not the one that was measured.
    """
    try:
        yield
    except _core.WeightsChangedError as error:
        raise weights_changed([graph.weighted[error.args[0]].parameter]) from None


def check_flow(graph: WalkGraph, flow: _core.Flow, *, backward: bool) -> None:
    """Raise RuntimeError if flow is gained or lost, which it is only where weights change.

    What the units of a space are passed must be what the links into it carry, and what starts
    there. It is, up to rounding, since a link's near units pass on shares of what was measured.
    """
    directed = graph.backward if backward else graph.forward
    num_starting = {space: int(graph.live[space].sum()) for space in directed.starts}
    num_starts = max(1, sum(num_starting.values()))
    carried = [float(of_link.sum()) for of_link in flow.links]
    into = (graph.forward if backward else graph.backward).onward
    for space, units in enumerate(flow.units):
        given = num_starting.get(space, 0) / num_starts + sum(carried[link] for link in into[space])
        # NaN and infinity are not close to anything.
        if not abs(float(units.sum()) - given) < 1e-6:
            links = (graph.weighted[link] for link in into[space] if link in graph.weighted)
            raise weights_changed(link.parameter for link in links)


def core_options(options: Options) -> _core.Options:
    """Return options for the engine."""
    return _core.Options(**asdict(options))


def core_graph(graph: WalkGraph) -> _core.Graph:
    """Return a walk graph for the engine, which gets the weights link by link (`LinkLoader`)."""
    links = [_core_link(graph, link) for link in graph.links]
    return _core.Graph(graph.live, links, graph.entries, graph.exits)


def _core_link(graph: WalkGraph, link: Link) -> _core.WeightedLink | _core.WiringLink:
    if isinstance(link, WeightedLink):
        return _core.WeightedLink(
            link.source,
            link.target,
            shape=link.shape,
            strides=link.strides,
            offset=link.offset,
            shortcut=link.shortcut,
            degrees=_degrees(graph, link),
        )
    return _core.WiringLink(
        link.source,
        link.target,
        source_groups=np.ascontiguousarray(link.source_groups),
        target_groups=np.ascontiguousarray(link.target_groups),
        shortcut=link.shortcut,
    )


def _degrees(graph: WalkGraph, link: WeightedLink) -> tuple[Degrees, Degrees]:
    """Return per source and per target unit the number of its edges to live units.

    The arrays are empty if no edge is absent: the engine then knows these numbers.
    """
    if link.absent is None:
        return np.empty(0, np.uint32), np.empty(0, np.uint32)
    sources, targets = (
        link.by_source(graph.live[link.source]),
        link.by_target(graph.live[link.target]),
    )
    of_sources = (link.is_edge & targets).sum(dim=(1, 3))
    of_targets = (link.is_edge & sources).sum(dim=(2, 3))
    return of_sources.view(-1).numpy().astype(np.uint32), of_targets.view(-1).numpy().astype(
        np.uint32
    )


def walk_range(walks: range, first_listed: int | None) -> _core.WalkRange:
    """Return walks for the engine, which lists the visits of those from `first_listed` on."""
    return _core.WalkRange(
        walks.start,
        len(walks),
        first_listed=walks.stop if first_listed is None else first_listed,
        step=walks.step,
    )


def direction(*, backward: bool) -> Literal["forward", "backward"]:
    """Return a direction as the engine calls it."""
    return "backward" if backward else "forward"


def as_int64(numbers: np.ndarray[Any, np.dtype[np.uint64]]) -> torch.Tensor:
    """Return the engine's uint64 numbers as an int64 tensor of the same memory."""
    return torch.from_numpy(numbers.view(np.int64))
