"""The stop rule: walks are made until a number of weights is visited."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Protocol, TypeAlias

import torch

from phew.distributed.ranks import ALONE, Ranks
from phew.graph.digests import digests_of_weights
from phew.graph.walk_graph import WalkGraph
from phew.walks.bridge import Visits
from phew.walks.devices import CPU
from phew.walks.engine import make_engine
from phew.walks.forecast import Forecast
from phew.walks.options import Options
from phew.walks.plan import Plan, own_walks, plan_walks
from phew.walks.targets import Target, check_time, check_walkable, target_of
from phew.walks.visited import Visited

FEWEST_PER_BATCH = {"cpu": 2**21, "cuda": 2**23}
"""Walks of one direction that move together at least, by type of device.

The masks do not depend on it.
"""

WEIGHTS_PER_WALK = 64
"""A batch reads all weights, so one on a large network has a walk for every 64 weights."""

PASSES_BEFORE = 4
"""Times that weights are read before the first walk: to measure them, and for the flows."""


@dataclass(frozen=True)
class Sample:
    """The union of the visits of walks 0 .. num_walks - 1, the fewest that meet a target.

    Attributes:
        target: The target.
        num_walks: Number of walks.
        visited: Per parameter of the target, a boolean tensor of its shape.
    """

    target: Target
    num_walks: int
    visited: Mapping[str, torch.Tensor]


_Counts: TypeAlias = Mapping[tuple[str, ...], int]
"""How many weights of some parameters are visited."""


class _AfterBatch(Protocol):
    """Called after each batch of walks, with the number of walks that are made."""

    def __call__(self, num_walks: int, *, are_listed: bool) -> None: ...


@dataclass(eq=False)
class _Pending:
    """A target that is not met yet.

    Attributes:
        target: The target.
        attempt: How many plans to it have failed.
        caution: The factor by which the uncertainty of its forecast is widened.
    """

    target: Target
    attempt: int = 0
    caution: int = 1

    def missing(self, counts: _Counts) -> int:
        """Return how many weights are missing where so many are visited."""
        return self.target.num_weights - counts[self.target.parameters]


class Sampler:
    """Walks on one graph until numbers of weights are visited.

    The number of walks is forecast. Most of them only mark what they visit; those around the last
    one are listed visit by visit, so that the count is exact to the walk (see `phew.walks.plan`).
    The same walks serve all targets: of a list of visits, each that it is long enough for is met.

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        num_threads: Number of threads of an engine on the CPU.
        device: Where walks run: the CPU or a CUDA device.
        batch_size: Number of walks of one direction that move together; by default one that suits
            the device.
        packed: Whether to keep one bit per weight instead of one byte, on the CPU.
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
        device: torch.device = CPU,
        batch_size: int | None = None,
        packed: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        check_walkable(graph)
        self._graph = graph
        self._ranks = ranks
        self._batch_size = batch_size or max(
            FEWEST_PER_BATCH[device.type], graph.num_prunable_weights // WEIGHTS_PER_WALK
        )
        self._engine = make_engine(
            graph, options, device=device, num_threads=num_threads, ranks=ranks
        )
        ranks.check_equal(lambda: digests_of_weights(graph, self._engine.measures))
        self._forecast = Forecast(self._engine)
        self._packed = packed
        self._num_passes = PASSES_BEFORE
        self._num_walks, self._visited = 0, self._nothing()

    def _nothing(self) -> Visited:
        return Visited.nothing(self._graph, self._engine.device, packed=self._packed)

    @property
    def num_passes(self) -> int:
        """The number of times that all weights have been read, one link after the other."""
        return self._num_passes

    def target(
        self,
        density: float,
        parameters: tuple[str, ...] | None = None,
        *,
        argument: str = "density",
    ) -> Target:
        """Return the number of weights that a density keeps (see `target_of`).

        Args:
            density: Kept / all weights of the parameters, in (0, 1].
            parameters: Prunable parameters, by default all of them.
            argument: The density's name in errors.
        """
        parameters = self._graph.prunable if parameters is None else parameters
        forecast = self._forecast.of(parameters)
        return target_of(density, parameters, self._engine, forecast, argument)

    def expected_passes(self, targets: Collection[Target]) -> int:
        """Return how often all weights will have been read once targets are met.

        The walks that meet a target are listed, which takes two passes more for each.
        """
        num_walks = 0
        for target in targets:
            forecast = self._forecast.of(target.parameters)
            tolerance = forecast.uncertainty(target.num_weights)
            num_walks = max(num_walks, forecast.walks_for((1 + tolerance) * target.num_weights))
        num_batches = math.ceil((num_walks - self._num_walks) / (2 * self._batch_size))
        return self._num_passes + 2 * (num_batches + len(targets) - 1)

    def go_on_from(self, num_walks: int, visited: Visited) -> None:
        """Take the visits of walks 0 .. num_walks - 1 as made.

        Raises:
            ValueError: If so many walks visit, by the forecast, other numbers of weights.
        """
        num_visited = visited.count(self._graph.prunable)
        expected = self._forecast.expected(num_walks)
        if not expected / 2 < num_visited < 2 * expected:
            raise ValueError(
                f"visited must be what {num_walks:,} walks visit, some {expected:,.0f} weights, "
                f"got {num_visited:,}."
            )
        self._num_walks, self._visited = num_walks, visited

    def run(
        self,
        targets: Iterable[Target],
        report: Callable[[float], None] = lambda share: None,
        after_batch: Callable[[int, Visited], None] | None = None,
    ) -> Iterator[Sample]:
        """Yield, for each target, the sample of the fewest walks that meet it.

        Args:
            targets: What `target` returned; samples come in the order in which they are met.
            report: Called with the share of the work that is done, in [0, 1].
            after_batch: Called after batches of walks that only mark, with the number of walks that
                are made and their visits, from which a later run can go on; not where these meet
                all targets, because such marks will be taken back.

        Raises:
            ValueError: If it turns out that a target would take days.
            RuntimeError: If walks find far fewer weights than they must, or weights have changed.
        """
        targets = tuple(dict.fromkeys(targets))
        expected_walks, first_walk = max([1, *map(self._walks_for, targets)]), self._num_walks

        def after(num_walks: int, *, are_listed: bool) -> None:
            report(min(1.0, num_walks / expected_walks))
            if (
                after_batch is not None
                and self._ranks.number == 1
                and not are_listed
                and num_walks > first_walk
                and not all(map(self._is_met, targets))
            ):
                after_batch(num_walks, self._visited)

        # The walks that this run goes on from are more than some targets need.
        behind = [each for each in targets if self._is_met(each)]
        if behind:
            ahead = self._num_walks, self._visited
            self._num_walks, self._visited = 0, self._nothing()
            yield from self._meet(behind, after)
            self._num_walks, self._visited = ahead
        yield from self._meet([each for each in targets if each not in behind], after)

    def _walks_for(self, target: Target) -> int:
        return self._forecast.of(target.parameters).walks_for(target.num_weights)

    def _is_met(self, target: Target) -> bool:
        return self._visited.count(target.parameters) >= target.num_weights

    def _meet(self, targets: Iterable[Target], after: _AfterBatch) -> Iterator[Sample]:
        """Walk until targets are met, none of which the walks that are made meet."""
        pending = [_Pending(target) for target in targets]
        while pending:
            for each in pending:
                if each.attempt > 0:
                    self._check_progress(each.target)
            counts = self._counts(pending)
            first, plan = self._plan(pending, counts)
            marks = self._num_walks < plan.first_listed
            before = self._visited.copy() if marks and self._num_walks > 0 else None
            visits = self._walk(plan, after)
            if marks:
                counts = self._counts(pending)
            if too_far := [each for each in pending if each.missing(counts) <= 0]:
                # The marks went too far: take them back and list more.
                self._visited = before or self._nothing()
                for each in too_far:
                    each.attempt, each.caution = each.attempt + 1, 4 * each.caution
            else:
                yield from self._land(pending, counts, visits, plan.end)
                first.attempt += 1

    def _counts(self, pending: Iterable[_Pending]) -> _Counts:
        parameters = {each.target.parameters for each in pending}
        return {names: self._visited.count(names) for names in parameters}

    def _plan(self, pending: Sequence[_Pending], counts: _Counts) -> tuple[_Pending, Plan]:
        """Return the target whose walks are listed first, and the plan to it."""
        plans = [
            plan_walks(
                self._forecast.of(each.target.parameters),
                num_weights=self._graph.num_prunable_weights,
                visits_per_walk=self._forecast.visits_per_walk,
                num_walks=self._num_walks,
                missing=each.missing(counts),
                caution=each.caution,
                attempt=each.attempt,
            )
            for each in pending
        ]
        # All ranks follow the first: processors of other kinds may round forecasts differently.
        index, plan = self._ranks.broadcast_first(min(enumerate(plans), key=itemgetter(1)))
        return pending[index], plan

    def _check_progress(self, target: Target) -> None:
        """Raise an error if walks have gone on for much longer than was forecast, and say why.

        A sample of the weights may lack a few that walks hardly ever visit. So where four times as
        many walks as forecast were too few, the forecast is made again, of all weights. Walks that
        are still too few after 64 times as many as that (see `Forecast.most_walks_for`) do not
        follow these weights.
        """
        forecast, num_weights = self._forecast.of(target.parameters), target.num_weights
        # All ranks do as the first.
        if not forecast.is_whole and self._ranks.broadcast_first(
            self._num_walks > 4 * forecast.walks_for(num_weights)
        ):
            self._forecast = Forecast(self._engine, self._graph.num_prunable_weights)
            check_time(target, self._engine, self._forecast.of(target.parameters))
        elif forecast.is_whole and self._num_walks > forecast.most_walks_for(num_weights):
            num_visited = self._visited.count(target.parameters)
            raise RuntimeError(
                f"{self._num_walks:,} walks have visited {num_visited:,} weights, but "
                f"{forecast.walks_for(num_weights):,} should have visited {num_weights:,}. Weights "
                "have changed while walks followed them, or the walks that these went on from were "
                "not on this graph. Sample the masks anew."
            )

    def _land(
        self, pending: list[_Pending], counts: _Counts, visits: Visits, end: int
    ) -> Iterator[Sample]:
        """Mark listed visits; yield the sample of each target that they meet, no longer pending.

        Args:
            pending: The targets that are not met yet.
            counts: How many weights are marked.
            visits: The listed visits.
            end: One more than the last listed walk.
        """
        weights, walks = self._visited.first_visits(visits)
        last_walks = {}
        for each in pending:
            missing = each.missing(counts)
            walks_of_target = walks[self._are_of(each.target.parameters, weights)]
            if len(walks_of_target) >= missing:
                last_walks[each] = int(walks_of_target.sort().values[missing - 1])
        for each, last_walk in sorted(last_walks.items(), key=itemgetter(1)):
            pending.remove(each)
            self._visited.mark(weights[walks <= last_walk])
            self._num_walks = last_walk + 1
            visited = self._visited.masks_of(each.target.parameters, copied=bool(pending))
            yield Sample(each.target, self._num_walks, visited)
        if pending:
            self._visited.mark(weights)
            self._num_walks = end

    def _are_of(self, parameters: tuple[str, ...], weights: torch.Tensor) -> torch.Tensor:
        """Return a flag for each of some weights: whether it is of one of some parameters."""
        if len(parameters) == len(self._graph.prunable):
            return torch.ones_like(weights, dtype=torch.bool)
        first_numbers = self._graph.first_numbers
        firsts = torch.tensor([*first_numbers.values()], device=weights.device)
        flags = torch.tensor([name in parameters for name in first_numbers], device=weights.device)
        return flags[torch.searchsorted(firsts, weights, right=True) - 1]

    def _walk(self, plan: Plan, after: _AfterBatch) -> Visits:
        """Make the walks of a plan, all ranks together; return the listed visits."""
        # A rank lists visits to weights that it has not marked itself. Where that list would be
        # long, ranks merge their marks before the listed walks, which takes one more pass over the
        # weights.
        merges_first = plan.lists_many and self._ranks.number > 1
        ends = [plan.first_listed, plan.end] if merges_first else [plan.end]
        visits: list[Visits] = []
        for first_walk, stop in pairwise([self._num_walks, *ends]):
            visits += self._walk_part(first_walk, stop, plan.first_listed, after)
            if first_walk < plan.first_listed:
                self._visited.merge(self._ranks)
        weights, walks = map(torch.cat, zip(*visits, strict=True))
        if self._ranks.number == 1:
            return weights, walks
        return self._ranks.gather_visits(self._visited.first_visits((weights, walks)))

    def _walk_part(
        self, first_walk: int, end: int, first_listed: int, after: _AfterBatch
    ) -> Iterator[Visits]:
        """Make this rank's part of walks first_walk .. end - 1, in as many batches as others."""
        num_at_once = 2 * self._batch_size * self._ranks.number
        for first in range(first_walk, end, num_at_once):
            stop = min(first + num_at_once, end)
            # If each rank walks one direction only, it builds half of the tables.
            is_short = stop - first <= num_at_once // 2
            both_directions = self._engine.loads_together or not is_short
            parts = own_walks(
                range(first, stop),
                rank=self._ranks.rank,
                num_ranks=self._ranks.number,
                both_directions=both_directions,
            )
            for walks in parts:
                with self._visited.recording() as masks:
                    visits = self._engine.walk(
                        walks,
                        masks,
                        batch_size=self._batch_size,
                        first_listed=first_listed if first_listed < stop else None,
                    )
                yield visits
            self._num_passes += 2
            after(stop, are_listed=stop > first_listed)
