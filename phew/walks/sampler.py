"""The stop rule: walks are made until a number of weights is visited."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import torch

from phew.distributed.ranks import ALONE, Ranks
from phew.graph.digests import digests_of_weights
from phew.graph.walk_graph import WalkGraph
from phew.masks.facts import Scalar
from phew.walks.bridge import Visits
from phew.walks.devices import CPU
from phew.walks.engine import make_engine
from phew.walks.forecast import Forecast
from phew.walks.options import Options
from phew.walks.plan import Plan, own_walks, plan_walks
from phew.walks.targets import check_time, check_walkable, target_of
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
    """The union of the visits of walks 0 .. num_walks - 1.

    Attributes:
        num_walks: Number of walks.
        visited: Per prunable parameter, a boolean tensor of its shape.
    """

    num_walks: int
    visited: Mapping[str, torch.Tensor]

    def info(self, options: Options, density: float) -> dict[str, Scalar]:
        """Return how masks of the visited weights were made (see `Masks.info`)."""
        return {
            "method": "PHEW",
            "density": density,
            "num_walks": self.num_walks,
            "seed": options.seed,
            "fork": options.fork,
            "granularity": options.granularity,
            "power": options.power,
        }


class Sampler:
    """Walks on one graph until a number of weights is visited.

    The number of walks is forecast. Most of them only mark what they visit; those around the last
    one are listed visit by visit, so that the count is exact to the walk (see `phew.walks.plan`).

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        num_threads: Number of threads of an engine on the CPU.
        device: Where walks run: the CPU or a CUDA device.
        batch_size: Number of walks of one direction that move together; by default one that suits
            the device.
        packed: Whether to keep one bit per weight instead of one byte, on the CPU.
        after_batch: A function that is called after each batch of walks that only mark, with the
            number of walks made and their visits. The batch may later be undone, if the walks have
            marked more weights than the target.
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
        after_batch: Callable[[int, Visited], None] = lambda num_walks, visited: None,
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
        self._after_batch = after_batch
        self._num_passes = PASSES_BEFORE
        self._visited = self._nothing()
        self._num_walks = 0
        self._num_visited = 0

    def _nothing(self) -> Visited:
        return Visited.nothing(self._graph, self._engine.device, packed=self._packed)

    @property
    def num_passes(self) -> int:
        """The number of times that all weights have been read, one link after the other."""
        return self._num_passes

    def target(self, density: float) -> int:
        """Return the number of weights that a density keeps (see `target_of`)."""
        return target_of(density, self._engine, self._forecast)

    def expected_passes(self, target: int) -> int:
        """Return how often all weights will have been read once so many weights are visited."""
        tolerance = self._forecast.uncertainty(target)
        num_walks = self._forecast.walks_for((1 + tolerance) * target) - self._num_walks
        return self._num_passes + 2 * math.ceil(num_walks / (2 * self._batch_size))

    def go_on_from(self, num_walks: int, visited: Visited) -> None:
        """Take the visits of walks 0 .. num_walks - 1 as made.

        These walks must visit fewer weights than any target that is later passed to `run`.

        Raises:
            ValueError: If so many walks visit, by the forecast, other numbers of weights.
        """
        num_visited, expected = visited.count(), self._forecast.expected(num_walks)
        if not expected / 2 < num_visited < 2 * expected:
            raise ValueError(
                f"visited must be what {num_walks:,} walks visit, some {expected:,.0f} weights, "
                f"got {num_visited:,}."
            )
        self._num_walks, self._visited = num_walks, visited
        self._num_visited = num_visited

    def run(
        self, targets: Sequence[int], report: Callable[[float], None] = lambda share: None
    ) -> Iterator[Sample]:
        """Yield, for each target, the sample of the fewest walks that visit so many weights.

        Args:
            targets: Numbers of weights from `target`, in ascending order.
            report: Called with the share of the work that is done, in [0, 1].

        Raises:
            ValueError: If it turns out that a target would take days.
            RuntimeError: If walks find far fewer weights than they must, or weights have changed.
        """
        expected_walks = max(1, self._forecast.walks_for(max(targets, default=0)))
        for number, target in enumerate(targets, start=1):
            self._reach(target, lambda num_walks: report(min(1.0, num_walks / expected_walks)))
            visited = self._visited
            if number < len(targets):
                self._visited = visited.copy()
            yield Sample(self._num_walks, visited.masks)

    def _reach(self, target: int, report: Callable[[int], None]) -> None:
        """Walk until so many weights are visited; stop at the walk that meets the target."""
        caution = 1
        for attempt in count():
            if self._num_visited >= target:
                return
            if attempt > 0:
                self._check_progress(target)
            plan = plan_walks(
                self._forecast,
                num_weights=self._graph.num_prunable_weights,
                num_walks=self._num_walks,
                missing=target - self._num_visited,
                caution=caution,
                attempt=attempt,
            )
            # All ranks follow the first: processors of other kinds may round forecasts differently.
            plan = self._ranks.broadcast_first(plan)
            marks = self._num_walks < plan.first_listed
            before = self._visited.copy() if marks and self._num_walks > 0 else None
            visits = self._walk(plan, report)
            num_marked = self._num_visited
            if marks:
                num_marked = self._visited.count()
            if num_marked < target:
                self._land(target - num_marked, num_marked, visits, plan.end)
            else:
                # The marks went too far: take them back and list more.
                self._visited = before or self._nothing()
                caution *= 4

    def _check_progress(self, target: int) -> None:
        """Raise an error if walks have gone on for much longer than was forecast, and say why.

        A sample of the weights may lack a few that walks hardly ever visit. So where four times as
        many walks as forecast were too few, the forecast is made again, of all weights. Walks that
        are still too few after 64 times as many as that (see `Forecast.most_walks_for`) do not
        follow these weights.
        """
        forecast = self._forecast
        # All ranks do as the first.
        if not forecast.is_whole and self._ranks.broadcast_first(
            self._num_walks > 4 * forecast.walks_for(target)
        ):
            self._forecast = Forecast(self._engine, self._graph.num_prunable_weights)
            check_time(target, self._engine, self._forecast)
        elif forecast.is_whole and self._num_walks > forecast.most_walks_for(target):
            raise RuntimeError(
                f"{self._num_walks:,} walks have visited {self._num_visited:,} weights, but "
                f"{forecast.walks_for(target):,} should have visited {target:,}. Weights have "
                "changed while walks followed them, or the walks that these went on from were not "
                "on this graph. Sample the masks anew."
            )

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

    def _walk(self, plan: Plan, report: Callable[[int], None]) -> Visits:
        """Make the walks of a plan, all ranks together; return the listed visits."""
        # A rank lists visits to weights that it has not marked itself. Where that list would be
        # long, ranks merge their marks before the listed walks, which takes one more pass over the
        # weights.
        merges_first = plan.lists_many and self._ranks.number > 1
        ends = [plan.first_listed, plan.end] if merges_first else [plan.end]
        visits: list[Visits] = []
        for first_walk, stop in pairwise([self._num_walks, *ends]):
            visits += self._walk_part(first_walk, stop, plan.first_listed, report)
            if first_walk < plan.first_listed:
                self._visited.merge(self._ranks)
        weights, walks = map(torch.cat, zip(*visits, strict=True))
        if self._ranks.number == 1:
            return weights, walks
        return self._ranks.gather_visits(self._visited.first_visits((weights, walks)))

    def _walk_part(
        self, first_walk: int, end: int, first_listed: int, report: Callable[[int], None]
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
            if stop <= first_listed and self._ranks.number == 1:
                self._after_batch(stop, self._visited)
            report(stop)
