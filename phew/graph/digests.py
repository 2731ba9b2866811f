"""Digests of a graph and of its weights, by which ranks, masks and later runs compare theirs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from phew._core import LinkMeasure
from phew.distributed.sharding import is_sharded
from phew.graph.links import WeightedLink
from phew.graph.walk_graph import WalkGraph

_MOST_VALUES = 1024
"""The values of a parameter that are looked at, at most."""


def digest_of_graph(graph: WalkGraph) -> str:
    """Return a digest of a graph without its weights."""
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
    return _short(digest)


def digest_of_sharding(graph: WalkGraph) -> str:
    """Return a digest of which parameters are sharded, and how."""
    places = [
        (name, str(parameter.placements))
        for name, parameter in graph.parameters.items()
        if is_sharded(parameter)
    ]
    return _short(hashlib.sha256(repr(places).encode()))


def digests_of_weights(graph: WalkGraph, measures: Sequence[LinkMeasure]) -> dict[str, str]:
    """Return per parameter a digest of the masses of all units in its links.

    Weights that were drawn anew or trained have other masses. A unit whose weights are the same in
    another order has the same mass, so such a change is not seen.
    """
    digests: dict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
    for index, link in graph.weighted.items():
        for totals in (measures[index].source_totals, measures[index].target_totals):
            digests[link.parameter].update(totals.tobytes())
    return {
        f"the weights of {name!r}": f"those of digest {_short(digest)}"
        for name, digest in digests.items()
    }


def digests_of_values(parameters: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return per parameter its type and a digest of some of its values, "float32 5feceb66ffc86f38".

    The values are those of `grid_of`. So a digest takes no time and few pages of a file, and tells
    parameters that were drawn anew or trained. A change that misses the grid is not seen: that of a
    few weights, or of rows between those of the grid. A digest is the same on every device and in
    every order of memory.

    Parameters that are sharded, tensors of classes of their own or without data are left out.
    """
    return {
        name: _digest_of_values(parameter)
        for name, parameter in parameters.items()
        if type(parameter) in (torch.Tensor, nn.Parameter)
        and parameter.layout is torch.strided
        and not parameter.is_meta
    }


def digest_of_values(graph: WalkGraph) -> str | None:
    """Return one digest of all prunable parameters, None where `digests_of_values` lacks one."""
    digests = digests_of_values({name: graph.parameters[name] for name in graph.prunable})
    if len(digests) < len(graph.prunable):
        return None
    return _short(hashlib.sha256(repr(sorted(digests.items())).encode()))


def grid_of(shape: Sequence[int]) -> tuple[slice, ...]:
    """Return an index of a grid of at most 1,024 elements of a tensor of a shape.

    Each dimension has its share of them, and what short ones leave goes to longer ones. The strides
    are odd, so that the grid meets what changes in every second row, such as interleaved parts.

    The grid of shape (300, 4096) has each 11th row and each 115th column, which are 28 x 36
    elements; that of (1, 5000) has each fifth column.
    """
    strides, most = [1] * len(shape), _MOST_VALUES
    shortest_first = sorted(range(len(shape)), key=lambda dim: shape[dim])
    for num_before, dim in enumerate(shortest_first):
        # A root that is a whole number may come out a little less.
        share = int(most ** (1 / (len(shape) - num_before)) + 1e-9)
        strides[dim] = -(-shape[dim] // share) | 1
        most //= max(1, -(-shape[dim] // strides[dim]))
    return tuple(slice(None, None, stride) for stride in strides)


def _digest_of_values(parameter: torch.Tensor) -> str:
    # A weight that is mapped from a file may begin at any byte, where only bytes can be copied.
    as_bytes = parameter.detach().resolve_conj().resolve_neg().unsqueeze(-1).view(torch.uint8)
    values = as_bytes[grid_of(parameter.shape)].cpu().contiguous().numpy()
    dtype = str(parameter.dtype).removeprefix("torch.")
    return f"{dtype} {_short(hashlib.sha256(values.tobytes()))}"


def _short(digest: hashlib._Hash) -> str:
    return digest.hexdigest()[:16]
