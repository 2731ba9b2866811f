"""From a graph and densities to masks, for PHEW and its ablations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from phew.distributed.ranks import ALONE, Ranks
from phew.graph.walk_graph import WalkGraph
from phew.masks.assembly import assemble_masks
from phew.masks.collapse import warn_of_collapse
from phew.masks.masks import Masks
from phew.support.devices import cpu_by_default
from phew.support.progress import progress_bar
from phew.walks.options import Options
from phew.walks.sampler import Sampler


def masks_of_walks(
    graph: WalkGraph,
    options: Options,
    densities: Sequence[float],
    *,
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
        num_threads: Number of threads on the CPU.
        device: Where walks run: the CPU or a CUDA device.
        ranks: The processes that walk together.
        progress: Whether to draw a progress bar on standard error.

    Raises:
        ValueError: As from `phew.sample_masks`.
    """
    ranks.check(graph.parameters, device)
    with cpu_by_default(), progress_bar("walking", shown=progress) as report:
        sampler = Sampler(graph, options, num_threads=num_threads, device=device, ranks=ranks)
        targets = [sampler.target(density) for density in densities]
        ascending = sorted(set(targets))
        samples = dict(zip(ascending, sampler.run(ascending, report), strict=True))
    masks = [
        assemble_masks(graph, samples[target].visited, samples[target].info(options, density))
        for density, target in zip(densities, targets, strict=True)
    ]
    warn_of_collapse(graph, masks)
    return masks
