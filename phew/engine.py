"""The walk engine over a walk graph: what `phew._core` needs to know of torch and of the graph."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import chain, takewhile
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from phew import _core
from phew.distributed import ALONE, Ranks
from phew.graph import Link, WalkGraph, WeightedLink
from phew.options import Options
from phew.sharding import is_sharded

DType: TypeAlias = Literal["float64", "float32", "float16", "bfloat16"]

DTYPES: dict[torch.dtype, DType] = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}

Visits: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Numbers of weights (see `WalkGraph.first_numbers`) and of the walks that visit them, int64."""

built_with_cuda = hasattr(_core, "CudaWalkEngine")
"""Whether walks can run on CUDA devices, where there are any."""

ROOM_FOR_VISITS = 2**20
"""Visits that are listed on a CUDA device at first."""


class NotFiniteError(ValueError):
    """Raised where a parameter holds infinite or NaN weights.

    Attributes:
        parameter: Its name.
    """

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


class LinkLoader:
    """Gives the engine the weights of one link at a time, and where to record its visits.

    Args:
        graph: The walk graph.
        visits: By parameter name, one element a weight, on the engine's device: uint8 or bool to
            mark and to find what is new, int32 to count. Only of prunable parameters; visits to
            others are not recorded.
        device: The engine's device.
        ranks: The processes that load sharded weights together.
        gathers: The indices of all links that these gather, in order, where a process may not come
            to each of them.
    """

    def __init__(
        self,
        graph: WalkGraph,
        visits: Mapping[str, torch.Tensor],
        device: torch.device,
        ranks: Ranks,
        gathers: Iterable[int] = (),
    ) -> None:
        self._graph = graph
        self._visits = visits
        self._device = device
        self._ranks = ranks
        self._gathers = iter(gathers)
        self._weights: dict[int, torch.Tensor] = {}
        self._copy = torch.empty(0)

    def __call__(self, index: int) -> _core.LinkBuffers:
        """Return the buffers of a weighted link, valid until the next call."""
        link = self._graph.links[index]
        assert isinstance(link, WeightedLink)
        weights = self._load(index, link.parameter)
        visits = self._visits.get(link.parameter)
        return _core.LinkBuffers(
            weights.data_ptr(),
            DTYPES[weights.dtype],
            0 if visits is None else visits.data_ptr(),
            self._graph.first_numbers.get(link.parameter, 0),
        )

    def _load(self, index: int, name: str) -> torch.Tensor:
        if index in self._weights:
            return self._weights[index]
        parameter = self._graph.parameters[name]
        if is_sharded(parameter):
            self.finish(before=index)
        weights = self._ranks.data_of(self._graph, name, self._device)
        # What is the parameter's own memory is kept at hand. Of copies there is one at a time.
        if not is_sharded(parameter) and weights.data_ptr() == parameter.data_ptr():
            self._weights[index] = weights
        else:
            self._copy = weights
        return weights

    def finish(self, before: int | None = None) -> None:
        """Gather with the other ranks what this one does not come to, before a link or at all."""
        for index in takewhile(lambda index: index != before, self._gathers):
            link = self._graph.links[index]
            assert isinstance(link, WeightedLink)
            self._ranks.data_of(self._graph, link.parameter, self._device)


class Engine:
    """The walks of a graph under a set of options, on the CPU.

    Measures the graph's weights when it is made.

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        num_threads: Number of threads.
        ranks: The processes that walk together.

    Attributes:
        loads_together: Whether weights are sharded, so that ranks must make the engine's calls
            together.

    Raises:
        ValueError: If a parameter holds infinite or NaN weights.
    """

    device = torch.device("cpu")

    def __init__(
        self, graph: WalkGraph, options: Options, *, num_threads: int, ranks: Ranks = ALONE
    ) -> None:
        self.graph = graph
        self.options = options
        self.ranks = ranks
        self.loads_together = _any_sharded(graph)
        self._num_threads = num_threads
        self._load = LinkLoader(graph, {}, self.device, ranks)
        self._core = _core.WalkEngine(_core_graph(graph), _core.Options(**asdict(options)))
        self.measures = self._core.measure(self._load, num_threads=num_threads)
        _check_finite(graph, self.measures)

    def flow(self, *, backward: bool) -> _core.Flow:
        """Compute the exact flow of one direction (see `phew.flow`)."""
        return self._core.flow(_direction(backward), self._load, num_threads=self._num_threads)

    def count_rates(
        self, links: list[int], forward: _core.Flow, backward: _core.Flow, *, share: float
    ) -> list[_core.RateHistogram]:
        """Count the weights of prunable links by how often walks are expected to visit them.

        Args:
            links: Indices of weighted links.
            forward: The flow of forward walks.
            backward: The flow of backward walks.
            share: The share of the weights to look at, the others being taken to be alike.
        """
        return self._core.count_rates(
            links,
            forward,
            backward,
            share=share,
            load=self._load,
            num_threads=self._num_threads,
        )

    def walk(
        self,
        walks: range,
        visits: Mapping[str, torch.Tensor],
        *,
        batch_size: int,
        recording: Literal["mark", "count"] = "mark",
        first_listed: int | None = None,
    ) -> Visits:
        """Make walks and record their visits.

        Args:
            walks: Their numbers, one or two apart. Of sharded weights one apart and at most one
                batch of each direction, and ranks make their calls together.
            visits: Where to record (see `LinkLoader`).
            batch_size: Number of walks of one direction that move together.
            recording: Whether to mark what is visited, or to count.
            first_listed: The first walk that does not mark: its visits, and those of the walks
                after it, to what is not marked are returned.

        Returns:
            The visits that are listed: possibly several of one weight, also of one that this call
            marks, in any order.
        """
        load = LinkLoader(self.graph, visits, self.device, self.ranks, _gathers(self.graph))
        listed = self._core.walk(
            _walk_range(walks, first_listed),
            load,
            recording=recording,
            num_threads=self._num_threads,
            batch_size=batch_size,
        )
        load.finish()
        return _as_int64(listed.weights), _as_int64(listed.walks)


class CudaEngine:
    """As `Engine`, on a CUDA device.

    Works on the stream that is current when it is made, on which also its results are used.

    Args:
        graph: The walk graph. Weights on other devices are copied one link at a time.
        options: What the walks depend on.
        device: The device.
        ranks: As of `Engine`.

    Raises:
        ValueError: If a parameter holds infinite or NaN weights.
    """

    def __init__(
        self, graph: WalkGraph, options: Options, *, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        self.graph = graph
        self.options = options
        self.device = device
        self.ranks = ranks
        self.loads_together = _any_sharded(graph)
        self._load = LinkLoader(graph, {}, device, ranks)
        self._stream = torch.cuda.current_stream(device)
        with torch.cuda.stream(self._stream):
            self._core = _core.CudaWalkEngine(
                _core_graph(graph),
                _core.Options(**asdict(options)),
                # So that there is one pool of memory, which torch tells the truth about.
                allocate=torch.cuda.caching_allocator_alloc,
                release=torch.cuda.caching_allocator_delete,
                stream=self._stream.cuda_stream,
            )
            self.measures = self._core.measure(self._load)
        _check_finite(graph, self.measures)

    def flow(self, *, backward: bool) -> _core.Flow:
        """Compute the exact flow, as `Engine.flow`."""
        with torch.cuda.stream(self._stream):
            return self._core.flow(_direction(backward), self._load)

    def count_rates(
        self, links: list[int], forward: _core.Flow, backward: _core.Flow, *, share: float
    ) -> list[_core.RateHistogram]:
        """Count weights, as `Engine.count_rates`."""
        with torch.cuda.stream(self._stream):
            return self._core.count_rates(links, forward, backward, share=share, load=self._load)

    def walk(
        self,
        walks: range,
        visits: Mapping[str, torch.Tensor],
        *,
        batch_size: int,
        recording: Literal["mark", "count"] = "mark",
        first_listed: int | None = None,
    ) -> Visits:
        """Make walks, as `Engine.walk`; waits for them only where visits are listed."""
        room = 0 if first_listed is None else ROOM_FOR_VISITS
        with torch.cuda.stream(self._stream):
            while True:
                load = LinkLoader(self.graph, visits, self.device, self.ranks, _gathers(self.graph))
                weights, listed = torch.empty(2, room, dtype=torch.int64, device=self.device)
                num_listed = torch.zeros(1, dtype=torch.int64, device=self.device)
                self._core.walk(
                    _walk_range(walks, first_listed),
                    load,
                    recording=recording,
                    batch_size=batch_size,
                    listed_walks=listed.data_ptr(),
                    listed_weights=weights.data_ptr(),
                    capacity=room,
                    num_visits=num_listed.data_ptr(),
                )
                load.finish()
                if first_listed is None:
                    return weights, listed
                num_visits = int(num_listed)
                most_visits = self.ranks.most(num_visits) if self.loads_together else num_visits
                if most_visits <= room:
                    return weights[:num_visits], listed[:num_visits]
                # There was too little room. What is marked by now stays marked.
                walks = walks[bisect_left(walks, first_listed) :]
                room = most_visits


AnyEngine: TypeAlias = Engine | CudaEngine


def make_engine(
    graph: WalkGraph,
    options: Options,
    *,
    device: torch.device,
    num_threads: int,
    ranks: Ranks = ALONE,
) -> AnyEngine:
    """Make the engine for a device, the CPU or a CUDA device.

    Raises:
        ValueError: If a parameter holds infinite or NaN weights.
    """
    if device.type == "cuda":
        return CudaEngine(graph, options, device=device, ranks=ranks)
    return Engine(graph, options, num_threads=num_threads, ranks=ranks)


def _any_sharded(graph: WalkGraph) -> bool:
    return any(map(is_sharded, graph.parameters.values()))


def _gathers(graph: WalkGraph) -> list[int]:
    """Return the links of sharded weights, in the order in which one batch a direction loads them.

    A batch skips links that none of its walkers takes.
    """
    return [
        index
        for index in chain(*graph.links_from, *reversed(graph.links_into))
        if isinstance(link := graph.links[index], WeightedLink)
        and is_sharded(graph.parameters[link.parameter])
    ]


def _check_finite(graph: WalkGraph, measures: Sequence[_core.LinkMeasure]) -> None:
    for link, measure in zip(graph.links, measures, strict=True):
        if isinstance(link, WeightedLink) and not measure.is_finite:
            raise NotFiniteError(
                link.parameter,
                f"parameter {link.parameter!r} must hold finite weights, got NaN or infinity. "
                "Initialise it; walks pass through it even where it is excluded.",
            )


def _walk_range(walks: range, first_listed: int | None) -> _core.WalkRange:
    return _core.WalkRange(
        walks.start,
        len(walks),
        first_listed=walks.stop if first_listed is None else first_listed,
        step=walks.step,
    )


def _direction(backward: bool) -> Literal["forward", "backward"]:
    return "backward" if backward else "forward"


def _as_int64(numbers: np.ndarray[Any, np.dtype[np.uint64]]) -> torch.Tensor:
    return torch.from_numpy(numbers.view(np.int64))


def _core_graph(graph: WalkGraph) -> _core.Graph:
    links = [_core_link(link) for link in graph.links]
    return _core.Graph(graph.live, links, graph.entries, graph.exits)


def _core_link(link: Link) -> _core.WeightedLink | _core.WiringLink:
    if isinstance(link, WeightedLink):
        return _core.WeightedLink(
            link.source,
            link.target,
            shape=link.shape,
            strides=link.strides,
            offset=link.offset,
            shortcut=link.shortcut,
        )
    return _core.WiringLink(
        link.source,
        link.target,
        source_groups=link.source_groups,
        target_groups=link.target_groups,
        shortcut=link.shortcut,
    )
