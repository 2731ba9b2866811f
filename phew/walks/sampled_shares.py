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
        share: sampler.target(share.density, share.parameters, argument=share.argument)
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
    visited = [sample.visited for sample in samples.values()]
    whole = [name for share in shares if share.is_whole for name in share.parameters]
    absent = absent_weights(graph) if whole else {}
    shapes = {name: graph.parameters[name].shape for name in graph.prunable}
    edges = {
        name: ~absent[name] if name in absent else torch.ones(shapes[name], dtype=torch.bool)
        for name in whole
    }
    if isinstance(visited[0], PackedMasks):
        packed = {name: pack(mask) for name, mask in edges.items()}
        for bits in map(PackedMasks.of, visited):
            packed |= bits.packed
        return PackedMasks(shapes, packed), num_walks
    device = next(iter(visited[0].values())).device
    kept = {name: mask.to(device) for name, mask in edges.items()}
    for masks in visited:
        kept |= masks
    return {name: kept[name] for name in shapes}, num_walks


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
