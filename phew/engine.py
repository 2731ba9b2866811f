"""The walk engine over a walk graph: what `phew._core` needs to know of torch and of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from phew import _core
from phew.graph import Link, WalkGraph, WeightedLink
from phew.options import Options

DType: TypeAlias = Literal["float64", "float32", "float16", "bfloat16"]

DTYPES: dict[torch.dtype, DType] = {
    torch.float64: "float64",
    torch.float32: "float32",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
}


class LinkLoader:
    """Gives the engine the weights of one link at a time, and where to record its visits.

    Args:
        graph: The walk graph.
        visits: By parameter name, one element a weight: uint8 or bool to mark and to find what is
            new, int32 to count. Visits to other parameters are not recorded.
    """

    def __init__(self, graph: WalkGraph, visits: Mapping[str, torch.Tensor]) -> None:
        self._graph = graph
        self._visits = visits
        self._weights = torch.empty(0)

    def __call__(self, index: int) -> _core.LinkBuffers:
        """Return the buffers of a weighted link, valid until the next call."""
        link = self._graph.links[index]
        assert isinstance(link, WeightedLink)
        self._weights = self._graph.data_of(link.parameter)
        visits = self._visits.get(link.parameter)
        return _core.LinkBuffers(
            self._weights.data_ptr(),
            DTYPES[self._weights.dtype],
            0 if visits is None else visits.data_ptr(),
        )


class Engine:
    """The walks of a graph under a set of options.

    Measures the graph's weights when it is made.

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        num_threads: Number of threads.

    Raises:
        ValueError: If a parameter holds infinite or NaN weights.
    """

    def __init__(self, graph: WalkGraph, options: Options, *, num_threads: int) -> None:
        self.graph = graph
        self.options = options
        self._num_threads = num_threads
        self._load = LinkLoader(graph, {})
        self._core = _core.WalkEngine(
            graph.live,
            [_core_link(link) for link in graph.links],
            graph.entries,
            graph.exits,
            **asdict(options),
        )
        self.measures = self._core.measure(self._load, num_threads=num_threads)
        for link, measure in zip(graph.links, self.measures, strict=True):
            if isinstance(link, WeightedLink) and not measure.is_finite:
                raise ValueError(
                    f"parameter {link.parameter!r} must hold finite weights, got NaN or infinity. "
                    "Initialise it; walks pass through it even where it is excluded."
                )

    def flow(self, *, backward: bool) -> _core.Flow:
        """Compute the exact flow of one direction (see `phew.flow`)."""
        direction: Literal["forward", "backward"] = "backward" if backward else "forward"
        return self._core.flow(direction, self._load, num_threads=self._num_threads)

    def count_rates(
        self, index: int, forward: _core.Flow, backward: _core.Flow, *, share: float
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Count a prunable link's weights by how often walks are expected to visit them.

        Args:
            index: Index of a weighted link.
            forward: The flow of forward walks.
            backward: The flow of backward walks.
            share: The share of the weights to look at, the others being taken to be alike.

        Returns:
            Rates, in visits a walk, and the numbers of weights that are visited at them.
        """
        return self._core.count_rates(
            index, forward, backward, self._load, share=share, num_threads=self._num_threads
        )

    def walk(
        self,
        first_walk: int,
        num_walks: int,
        visits: Mapping[str, torch.Tensor],
        *,
        batch_size: int,
        recording: Literal["mark", "count"] = "mark",
        first_listed: int | None = None,
    ) -> _core.Visits:
        """Make the walks first_walk, first_walk + 1, ... and record their visits.

        Args:
            first_walk: Number of the first walk.
            num_walks: How many walks.
            visits: Where to record (see `LinkLoader`).
            batch_size: Number of walks of one direction that move together.
            recording: Whether to mark what is visited, or to count.
            first_listed: The first walk that does not mark: its visits, and those of the walks
                after it, to what is not marked are returned.

        Returns:
            The visits that are listed: possibly several of one weight, also of one that this call
            marks, in any order.
        """
        return self._core.walk(
            first_walk,
            num_walks,
            first_walk + num_walks if first_listed is None else first_listed,
            LinkLoader(self.graph, visits),
            recording=recording,
            num_threads=self._num_threads,
            batch_size=batch_size,
        )


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
