"""The stop rule: how many walks a density needs, and which weights they visit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import NamedTuple

import torch

from phew.digests import digests_of_weights
from phew.distributed import ALONE, Ranks
from phew.engine import Visits, make_engine
from phew.forecast import Forecast
from phew.graph import WalkGraph
from phew.options import Options
from phew.visited import Visited

FEWEST_PER_BATCH = {"cpu": 2**21, "cuda": 2**23}
"""Walks of one direction that move together, by type of device. Results do not depend on it."""

WEIGHTS_PER_WALK = 64
"""Of large networks as many walks as this many weights each: a batch reads all weights."""

LANDING_SIZE = 2**16
"""Walks that are listed visit by visit when none have been made before."""

MOST_WALKS = 2**34
"""Hours of walking, on any network."""

PASSES_BEFORE = 4
"""Times that weights are read before the first walk: to measure them, and for the flows."""

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Sample:
    """The union of the visits of walks 0 .. num_walks - 1.

    Attributes:
        num_walks: Number of walks.
        visited: Per prunable parameter, a boolean tensor of its shape.
    """

    num_walks: int
    visited: Mapping[str, torch.Tensor]


class _Plan(NamedTuple):
    """Walks to make next.

    Attributes:
        first_listed: The first walk whose visits are listed.
        end: One more than the last walk.
        merges_before_listing: Whether ranks share their marks before they list, and go through the
            weights once more, as lists of what a rank itself has not marked would be long.
    """

    first_listed: int
    end: int
    merges_before_listing: bool


class Sampler:
    """Walks on one graph until a number of weights is visited.

    The number of walks is forecast. Most of them only mark what they visit; those around the last
    one are listed visit by visit, so that the count is exact to the walk.

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        num_threads: Number of threads of an engine on the CPU.
        device: Where walks run: the CPU or a CUDA device.
        batch_size: Number of walks of one direction that move together; by default one that suits
            the device.
        packed: Whether to keep a bit for each weight instead of a byte, on the CPU.
        after_batch: Told, after walks that all are marked, their number and what they visited.
            Where the forecast was too high, they may be too many, and are taken back.
        ranks: The processes that walk together, each the same in all arguments but `num_threads`.

    Raises:
        ValueError: If a parameter has no data or holds NaN or infinity, no walk can be made, or
            the weights of the ranks differ.
    """

    def __init__(
        self,
        graph: WalkGraph,
        options: Options,
        *,
        num_threads: int,
        device: torch.device = _CPU,
        batch_size: int | None = None,
        packed: bool = False,
        after_batch: Callable[[int, Visited], None] = lambda num_walks, visited: None,
        ranks: Ranks = ALONE,
    ) -> None:
        _check_walkable(graph)
        self._graph = graph
        self._ranks = ranks
        self._batch_size = batch_size or max(
            FEWEST_PER_BATCH[device.type], graph.num_prunable_weights // WEIGHTS_PER_WALK
        )
        self._engine = make_engine(
            graph, options, device=device, num_threads=num_threads, ranks=ranks
        )
        ranks.agree(lambda: digests_of_weights(graph, self._engine.measures))
        self._forecast = Forecast(self._engine)
        self._packed = packed
        self._after_batch = after_batch
        self._num_passes = PASSES_BEFORE
        self._visited = self._nothing()
        self._num_walks = 0
        self._num_visited = 0

    def _nothing(self) -> Visited:
        return Visited.nothing(self._graph, self._engine.device, packed=self._packed)

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
        for number, target in enumerate(targets, start=1):
            self._reach(target, lambda num_walks: report(min(1.0, num_walks / expected_walks)))
            visited = self._visited
            if number < len(targets):
                self._visited = visited.copy()
            yield Sample(self._num_walks, visited.masks)

    @property
    def num_passes(self) -> int:
        """How often all weights have been read, each time one link after the other."""
        return self._num_passes

    def expected_passes(self, target: int) -> int:
        """Return how often all weights will have been read when so many are visited."""
        tolerance = self._forecast.uncertainty(target)
        num_walks = self._forecast.walks_for((1 + tolerance) * target) - self._num_walks
        return self._num_passes + 2 * math.ceil(num_walks / (2 * self._batch_size))

    def go_on_from(self, num_walks: int, visited: Visited) -> None:
        """Take the visits of walks 0 .. num_walks - 1 as made.

        They must be too few for what is then walked to.
        """
        self._num_walks, self._visited = num_walks, visited
        self._num_visited = visited.count()

    def _reach(self, target: int, report: Callable[[int], None]) -> None:
        """Walk until so many weights are visited; stop at the walk that meets the target."""
        caution = 1
        for attempt in count():
            if self._num_visited >= target:
                return
            plan = self._ranks.of_first(self._plan(target, caution, attempt))
            marks = self._num_walks < plan.first_listed
            before = self._visited.copy() if marks and self._num_walks > 0 else None
            visits = self._walk(plan, report)
            num_marked = self._num_visited
            if marks:
                num_marked = self._visited.count()
            if num_marked < target:
                self._land(target - num_marked, num_marked, visits, plan.end)
            else:
                # Too far: take the marks back and list more.
                self._visited = before or self._nothing()
                caution *= 4

    def _plan(self, target: int, caution: float, attempt: int) -> _Plan:
        """Plan the walks to a number of visited weights.

        The forecast, corrected by what has been visited, says how many are needed; those around
        that number are listed.
        """
        missing = target - self._num_visited
        tolerance = caution * self._forecast.uncertainty(missing)
        expected = self._forecast.expected(self._num_walks)
        first_listed = self._num_walks
        if tolerance < 1:
            few = self._forecast.walks_for(expected + (1 - tolerance) * missing)
            first_listed = max(first_listed, few)
        many = self._forecast.walks_for(expected + (1 + tolerance) * missing)
        # More at each attempt, whatever the forecast: so there are few.
        num_listed = 8**attempt * max(1, many + 1 - first_listed)
        # A weight that no walk has visited yet is rare enough that as many walks again list it
        # about once: so the lists stay shorter than the weights.
        num_listed = min(num_listed, max(first_listed, LANDING_SIZE))
        # Ranks list what they have not marked themselves.
        num_visits = self._forecast.visits_per_walk * num_listed
        is_long = num_visits > self._graph.num_prunable_weights
        return _Plan(first_listed, first_listed + num_listed, is_long and self._ranks.number > 1)

    def _land(self, missing: int, num_marked: int, visits: Visits, end: int) -> None:
        """Mark listed visits up to the walk that visits the last missing weight."""
        weights, walks = self._visited.first_visits(visits)
        if len(walks) >= missing:
            last_walk = int(walks.sort().values[missing - 1])
            weights = weights[walks <= last_walk]
            end = last_walk + 1
        self._visited.mark(weights)
        self._num_visited = num_marked + len(weights)
        self._num_walks = end

    def _walk(self, plan: _Plan, report: Callable[[int], None]) -> Visits:
        """Make the walks of a plan, all ranks together; return the listed visits."""
        ends = [plan.first_listed, plan.end] if plan.merges_before_listing else [plan.end]
        visits: list[Visits] = []
        for first_walk, stop in pairwise([self._num_walks, *ends]):
            visits += self._walk_part(first_walk, stop, plan.first_listed, report)
            if first_walk < plan.first_listed:
                self._ranks.merge(self._visited.masks)
        weights, walks = map(torch.cat, zip(*visits, strict=True))
        if self._ranks.number == 1:
            return weights, walks
        return self._ranks.gather(self._visited.first_visits((weights, walks)))

    def _walk_part(
        self, first_walk: int, end: int, first_listed: int, report: Callable[[int], None]
    ) -> Iterator[Visits]:
        """Make this rank's part of walks first_walk .. end - 1, in as many batches as others."""
        num_at_once = 2 * self._batch_size * self._ranks.number
        for first in range(first_walk, end, num_at_once):
            stop = min(first + num_at_once, end)
            # One batch a rank, of one direction, builds the tables of that alone.
            is_short = stop - first <= num_at_once // 2
            alike = self._engine.loads_together or not is_short
            for part in self._ranks.parts_of(range(first, stop), alike=alike):
                with self._visited.recording() as masks:
                    visits = self._engine.walk(
                        part,
                        masks,
                        batch_size=self._batch_size,
                        first_listed=first_listed if first_listed < stop else None,
                    )
                yield visits
            self._num_passes += 2
            if stop <= first_listed and self._ranks.number == 1:
                self._after_batch(stop, self._visited)
            report(stop)


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
