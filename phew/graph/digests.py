"""Digests of a graph and of its weights, by which ranks and later runs compare theirs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence

from phew._core import LinkMeasure
from phew.distributed.sharding import is_sharded
from phew.graph.links import WeightedLink
from phew.graph.walk_graph import WalkGraph


def digest_of_graph(graph: WalkGraph) -> str:
    """Return a digest of a graph without its weights, in words."""
    return _shown(hash_of_graph(graph))


def hash_of_graph(graph: WalkGraph) -> hashlib._Hash:
    """Return the SHA-256 hash of a graph without its weights."""
    digest = hashlib.sha256()
    shapes = [(name, *parameter.shape) for name, parameter in graph.parameters.items()]
    for part in (graph.spaces, graph.entries, graph.exits, graph.prunable, shapes):
        digest.update(repr(part).encode())
    for link in graph.links:
        if isinstance(link, WeightedLink):
            # `num_uses` is left out: it depends on the example's size, and walks do not.
            digest.update(repr(dataclasses.replace(link, num_uses=0)).encode())
            if link.absent is not None:
                digest.update(link.absent.cpu().contiguous().numpy().tobytes())
        else:
            digest.update(repr((link.source, link.target, link.shortcut)).encode())
            digest.update(link.source_groups.tobytes() + link.target_groups.tobytes())
    return digest


def digest_of_sharding(graph: WalkGraph) -> str:
    """Return a digest of which parameters are sharded, and how."""
    places = [
        (name, str(parameter.placements))
        for name, parameter in graph.parameters.items()
        if is_sharded(parameter)
    ]
    return _shown(hashlib.sha256(repr(places).encode()))


def digests_of_weights(graph: WalkGraph, measures: Sequence[LinkMeasure]) -> dict[str, str]:
    """Return per parameter a digest of the masses of all units in its links.

    Weights that were drawn anew or trained have other masses. A unit whose weights are the same in
    another order has the same mass, so such a change is not seen.
    """
    digests: dict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
    for index, link in graph.weighted.items():
        for totals in (measures[index].source_totals, measures[index].target_totals):
            digests[link.parameter].update(totals.tobytes())
    return {f"the weights of {name!r}": _shown(digest) for name, digest in digests.items()}


def _shown(digest: hashlib._Hash) -> str:
    return f"those of digest {digest.hexdigest()[:8]}"
