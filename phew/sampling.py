"""The stop rule: how many walks a density needs, and which weights they visit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from phew import _core
from phew.engine import Engine
from phew.forecast import Forecast
from phew.graph import WalkGraph, WeightedLink
from phew.options import Options

BATCH_SIZE = 2**21
"""Walks of one direction that move together. Results do not depend on it."""

LANDING_SIZE = 2**16
"""Walks that are listed visit by visit when none have been made before."""

MOST_WALKS = 2**34
"""Hours of walking, on any network."""


@dataclass(frozen=True)
class Sample:
    """The union of the visits of walks 0 .. num_walks - 1.

    Attributes:
        num_walks: Number of walks.
        visited: Per prunable parameter, a boolean tensor of its shape.
    """

    num_walks: int
    visited: dict[str, torch.Tensor]


class Sampler:
    """Walks on one graph until a number of weights is visited.

    Most walks go in one large batch that only marks what they visit; its size is forecast, a little
    short of the need. The walks around the last one are listed visit by visit, so that the count is
    exact to the walk.

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        num_threads: Number of threads.
        batch_size: Number of walks of one direction that move together.

    Raises:
        ValueError: If a parameter has no data or holds NaN or infinity, or no walk can be made.
    """

    def __init__(
        self, graph: WalkGraph, options: Options, *, num_threads: int, batch_size: int = BATCH_SIZE
    ) -> None:
        _check_walkable(graph)
        self._graph = graph
        self._batch_size = batch_size
        self._engine = Engine(graph, options, num_threads=num_threads)
        self._forecast = Forecast(self._engine)
        self._layout = _Layout(graph)
        self._visited = torch.zeros(self._layout.num_weights, dtype=torch.bool)
        self._num_walks = 0
        self._num_visited = 0

    def target(self, density: float) -> int:
        """Return the number of weights that a density keeps, if walks can reach it.

        Args:
            density: Kept / prunable weights, in (0, 1].

        Raises:
            ValueError: If the number is 0, or out of reach, or takes too many walks.
        """
        num_weights = self._graph.num_prunable_weights
        target = round(density * num_weights)
        if target == 0:
            raise ValueError(
                f"density must keep at least one of {num_weights:,} weights, got {density}."
            )
        reachable = self._forecast.reachable
        if target > sum(reachable.values()):
            raise ValueError(self._out_of_reach(density, reachable))
        num_walks = self._forecast.walks_for(target)
        if num_walks > MOST_WALKS:
            raise ValueError(
                f"density {density} takes some {num_walks:.0e} walks: a few weights are so small "
                "beside others that walks hardly ever take them. Lower the density."
            )
        return target

    def _out_of_reach(self, density: float, reachable: dict[str, int]) -> str:
        share = sum(reachable.values()) / self._graph.num_prunable_weights
        message = (
            f"density {density} is out of reach: walks reach {share:.1%} of the prunable weights;"
        )
        unreached = [name for name, number in reachable.items() if number == 0]
        if unreached:
            names = ", ".join(map(repr, unreached[:5])) + (", ..." if len(unreached) > 5 else "")
            verb = "is" if len(unreached) == 1 else "are"
            return (
                f"{message} {names} {verb} not on any path from input to output that walks take. "
                f"Lower the density, or leave such weights out with exclude=[{unreached[0]!r}]."
            )
        name = max(
            reachable, key=lambda name: self._graph.parameters[name].numel() - reachable[name]
        )
        number = self._graph.parameters[name].numel() - reachable[name]
        return (
            f"{message} no walk takes {number:,} weights of {name!r}, which are zero beside others "
            "or not on a path from input to output. Lower the density, or initialise the weights."
        )

    def run(
        self, targets: Sequence[int], report: Callable[[float], None] = lambda share: None
    ) -> Iterator[Sample]:
        """Yield, for each target, the sample of the fewest walks that visit so many weights.

        Args:
            targets: Numbers of weights from `target`, in ascending order.
            report: Told the share of the work that is done, in [0, 1].
        """
        expected_walks = max(1, self._forecast.walks_for(max(targets, default=0)))
        for target in targets:
            self._mark_most(target, lambda num_walks: report(min(1.0, num_walks / expected_walks)))
            while self._num_visited < target:
                self._land(target)
            masks = {name: mask.clone() for name, mask in self._layout.split(self._visited).items()}
            yield Sample(self._num_walks, masks)

    def _mark_most(self, target: int, report: Callable[[int], None]) -> None:
        """Make nearly all walks that the target is forecast to need, and mark what they visit."""
        forecast = self._forecast.walks_for(target)
        before = self._visited.clone() if self._num_walks else None
        shortfall = _uncertainty(target)
        while (num_walks := int(forecast * (1 - shortfall)) - self._num_walks) > 0:
            end = self._num_walks + num_walks
            for first in range(self._num_walks, end, 2 * self._batch_size):
                self._walk(first, min(2 * self._batch_size, end - first), "mark")
                report(first)
            num_visited = int(self._visited.count_nonzero())
            if num_visited < target:
                self._num_walks += num_walks
                self._num_visited = num_visited
                return
            # Too far: take the marks back and stop shorter.
            self._visited.zero_() if before is None else self._visited.copy_(before)
            shortfall *= 4

    def _land(self, target: int) -> None:
        """List the new visits of some more walks; stop at the walk that meets the target."""
        forecast = int(self._forecast.walks_for(target) * (1 + _uncertainty(target)))
        num_walks = max(forecast - self._num_walks, self._num_walks // 8) + 1
        # A weight that no walk has visited yet is rare enough that as many walks again list it
        # about once: so the lists stay shorter than the weights.
        num_walks = min(num_walks, max(self._num_walks, LANDING_SIZE))
        visits = self._walk(self._num_walks, num_walks, "new")
        weights = self._layout.weights_of(visits)
        # Sorted by walk, the first occurrence of a weight is its first visit.
        order = np.argsort(visits.walks, kind="stable")
        weights, first = np.unique(weights[order], return_index=True)
        walks = visits.walks[order][first]
        missing = target - self._num_visited
        if len(walks) >= missing:
            last_walk = np.partition(walks, missing - 1)[missing - 1]
            weights = weights[walks <= last_walk]
            self._num_walks = int(last_walk) + 1
        else:
            self._num_walks += num_walks
        self._num_visited += len(weights)
        self._visited[torch.from_numpy(weights)] = True

    def _walk(
        self, first_walk: int, num_walks: int, recording: Literal["mark", "new"]
    ) -> _core.Visits:
        return self._engine.walk(
            first_walk,
            num_walks,
            self._layout.split(self._visited),
            recording=recording,
            batch_size=self._batch_size,
        )


class _Layout:
    """Where the weights of each prunable parameter are among all prunable weights."""

    def __init__(self, graph: WalkGraph) -> None:
        self._shapes = {name: graph.parameters[name].shape for name in graph.prunable}
        starts = {}
        self.num_weights = 0
        for name, shape in self._shapes.items():
            starts[name] = self.num_weights
            self.num_weights += shape.numel()
        self._start_of_link = np.array(
            [
                starts.get(link.parameter, 0) if isinstance(link, WeightedLink) else 0
                for link in graph.links
            ]
        )

    def split(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """View a vector over all weights as one tensor for each parameter."""
        parts = weights.split([shape.numel() for shape in self._shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }

    def weights_of(self, visits: _core.Visits) -> npt.NDArray[np.int64]:
        """Number the visited weights among all."""
        return self._start_of_link[visits.links] + visits.elements.astype(np.int64)


def _uncertainty(target: int) -> float:
    """Return how far a forecast may be off: 2 %, and five standard deviations."""
    return 0.02 + 5 / math.sqrt(target)


def _check_walkable(graph: WalkGraph) -> None:
    if graph.num_prunable_weights == 0:
        raise ValueError("model must have prunable weights, got none.")
    for name, parameter in graph.parameters.items():
        if parameter.is_meta:
            raise ValueError(
                f"model must hold its weights, got {name!r} on the meta device. "
                "Load or initialise it first, e.g. with model.to_empty(device='cpu')."
            )
    if not any(graph.live[space].any() for space in graph.entries):
        raise ValueError(
            "model must have a path from its input to its output, got none: "
            "no output depends on a floating-point input or an embedding."
        )
