"""The walk engine over a walk graph: what `phew._core` needs to know of torch and of the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal, TypeAlias

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


def walk_engine(graph: WalkGraph, options: Options, *, num_threads: int) -> _core.WalkEngine:
    """Build the engine for a graph and measure the graph's weights.

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        num_threads: Number of threads that measure.

    Returns:
        The engine, ready to walk.

    Raises:
        ValueError: If a parameter holds infinite or NaN weights.
    """
    engine = _core.WalkEngine(
        graph.live,
        [_core_link(link) for link in graph.links],
        graph.entries,
        graph.exits,
        **asdict(options),
    )
    are_finite = engine.measure(LinkLoader(graph, {}), num_threads=num_threads)
    for link, is_finite in zip(graph.links, are_finite, strict=True):
        if isinstance(link, WeightedLink) and not is_finite:
            raise ValueError(
                f"parameter {link.parameter!r} must hold finite weights, got NaN or infinity. "
                "Initialise it; walks pass through it even where it is excluded."
            )
    return engine


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
