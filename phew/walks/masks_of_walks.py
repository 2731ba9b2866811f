"""From a graph and densities to masks, for PHEW and its ablations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import torch

from phew.distributed.ranks import ALONE, Ranks
from phew.graph.walk_graph import WalkGraph
from phew.masks.assembly import assemble_masks
from phew.masks.collapse import warn_of_collapse
from phew.masks.masks import Masks
from phew.support.devices import cpu_by_default
from phew.support.progress import progress_bar
from phew.walks.options import Options
from phew.walks.sampled_shares import info_of_walks, put_together, targets_of
from phew.walks.sampler import Sampler
from phew.walks.shares import shares_of


def masks_of_walks(
    graph: WalkGraph,
    options: Options,
    densities: Sequence[float],
    *,
    layer_densities: Mapping[str, float] | None = None,
    num_threads: int,
    device: torch.device,
    ranks: Ranks = ALONE,
    progress: bool = False,
) -> list[Masks]:
    """Walk on a graph until each density is met, and return the masks in the order of densities.

    Args:
        graph: The walk graph.
        options: What the walks depend on.
        densities: Kept / prunable weights, each in (0, 1]; one run of walks serves all of them.
        layer_densities: Other densities of some parameters (see `shares_of`).
        num_threads: Number of threads on the CPU.
        device: Where walks run: the CPU or a CUDA device.
        ranks: The processes that walk together.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        ValueError: As from `phew.sample_masks`.
    """
    ranks.check(graph.parameters, device)
    divisions = [shares_of(graph, density, layer_densities or {}) for density in densities]
    with cpu_by_default(), progress_bar("walking", shown=progress) as report:
        sampler = Sampler(graph, options, num_threads=num_threads, device=device, ranks=ranks)
        targets = targets_of(sampler, chain.from_iterable(divisions))
        met = {sample.target: sample for sample in sampler.run(targets.values(), report)}
    masks = []
    for density, shares in zip(densities, divisions, strict=True):
        samples = {share: met[targets[share]] for share in shares if share in targets}
        kept, num_walks = put_together(graph, shares, samples)
        info = info_of_walks(options, density, layer_densities or {}, num_walks)
        masks.append(assemble_masks(graph, kept, info, reads_weights=options.reads_weights))
    warn_of_collapse(graph, masks)
    return masks
