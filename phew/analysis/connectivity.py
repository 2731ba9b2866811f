"""Effective weights: kept weights on a path from the input to the output."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from phew.analysis.kept import KeptWeights, kept_edges, whole_masks
from phew.analysis.paths import Scaled, counted_paths
from phew.capture.graph_of import as_graph
from phew.graph.walk_graph import WalkGraph
from phew.support.devices import cpu_by_default


def effective_masks(
    model: nn.Module | WalkGraph, example_inputs: Any = None, *, masks: KeptWeights
) -> dict[str, torch.Tensor]:
    """Flag the kept weights that lie on a path from the input to the output over kept weights.

    The others can be pruned without a change of the network's function, but for biases and
    the statistics of normalisations.

    Args:
        model: The model, or the graph that `phew.capture` made of it.
        example_inputs: What the model accepts (see `phew.capture`).
        masks: Boolean tensors by parameter name; weights without a mask are kept. Where weights or
            masks are sharded, all ranks make the call.

    Returns:
        Per mask a boolean tensor of its shape, on the CPU.

    Raises:
        ValueError: If masks do not fit the model.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        >>> first, second = torch.eye(2).bool(), torch.tensor([[True, False]])
        >>> masks = {"0.weight": first, "1.weight": second}
        >>> effective_masks(model, torch.zeros(1, 2), masks=masks)["0.weight"].int().tolist()
        [[1, 0], [0, 0]]

    Source: Vysogorets and Kempe, "Connectivity Matters: Neural Network Pruning Through the Lens of
        Effective Sparsity", JMLR 2023.
    """
    graph = as_graph(model, example_inputs)
    masks = whole_masks(graph, masks)
    with cpu_by_default():
        return effective_weights(
            graph, masks, counted_paths(graph, masks), counted_paths(graph, masks, backward=True)
        )


def effective_weights(
    graph: WalkGraph, masks: KeptWeights, from_entries: list[Scaled], to_exits: list[Scaled]
) -> dict[str, torch.Tensor]:
    """Flag the kept weights on a path, given the numbers of paths to and from each unit."""
    effective = {
        name: torch.zeros(mask.shape, dtype=torch.bool, device="cpu")
        for name, mask in masks.items()
    }
    for link in graph.weighted.values():
        if link.parameter in masks:
            sources = link.by_source(from_entries[link.source].values) > 0
            targets = link.by_target(to_exits[link.target].values) > 0
            kept = kept_edges(link, masks) & sources & targets
            # A parameter may be the weights of several links.
            link.mark_elements(effective[link.parameter], kept)
    return effective
