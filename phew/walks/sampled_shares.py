"""From the shares of a network to targets of walks, and from samples of these to kept weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import torch

from phew.graph.reach import absent_weights
from phew.graph.walk_graph import WalkGraph
from phew.masks.facts import Scalar
from phew.masks.packed import PackedMasks, pack
from phew.walks.options import Options
from phew.walks.sampler import Sample, Sampler
from phew.walks.shares import Share
from phew.walks.targets import Target


def targets_of(sampler: Sampler, shares: Iterable[Share]) -> dict[Share, Target]:
    """Return the target of each share that is walked, which those that are kept whole are not."""
    return {
        share: sampler.target(share.density, share.parameters)
        for share in shares
        if not share.is_whole
    }


def put_together(
    graph: WalkGraph, shares: Sequence[Share], samples: Mapping[Share, Sample]
) -> tuple[Mapping[str, torch.Tensor], int]:
    """Put the kept weights of the shares of a network together.

    Args:
        graph: The walk graph.
        shares: What `shares_of` returned.
        samples: The samples of the shares that are walked.

    Returns:
        Per prunable parameter the weights that its share keeps, packed if samples are, and the
        number of walks of the share that took most.
    """
    num_walks = max(sample.num_walks for sample in samples.values())
    visited = {share: sample.visited for share, sample in samples.items()}
    if len(shares) == 1:
        return visited[shares[0]], num_walks
    share_of = {name: share for share in shares for name in share.parameters or ()}
    some = next(iter(visited.values()))
    if isinstance(some, PackedMasks):
        shapes, packed = some.shapes, {}
        for name in graph.prunable:
            of_share = visited.get(share_of[name])
            packed[name] = (
                of_share.packed[name]
                if isinstance(of_share, PackedMasks)
                else pack(_all_edges(graph, name))
            )
        return PackedMasks(shapes, packed), num_walks
    kept = {}
    for name in graph.prunable:
        share = share_of[name]
        kept[name] = (
            _all_edges(graph, name).to(some[name].device)
            if share.is_whole
            else visited[share][name]
        )
    return kept, num_walks


def _all_edges(graph: WalkGraph, parameter: str) -> torch.Tensor:
    """Flag the weights of a parameter that no constant of the model zeroes."""
    absent = absent_weights(graph).get(parameter)
    if absent is not None:
        return ~absent
    return torch.ones(graph.parameters[parameter].shape, dtype=torch.bool)


def info_of_walks(
    options: Options, density: float, layer_densities: Mapping[str, float], num_walks: int
) -> dict[str, Scalar]:
    """Return how masks were made of the weights that walks visited (see `Masks.info`)."""
    of_layers = {"layer_densities": json.dumps(layer_densities)} if layer_densities else {}
    return {
        "method": "PHEW",
        "density": density,
        **of_layers,
        "num_walks": num_walks,
        "seed": options.seed,
        "fork": options.fork,
        "granularity": options.granularity,
        "power": options.power,
    }
