"""The weight that a walk carries: its expected product of squared weights, computed exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from phew.analysis.expected_visits import edge_probabilities, exact_flow
from phew.graph import WalkGraph, WeightedLink
from phew.graph.weights import weights_of
from phew.walks.options import Power


def expected_product(graph: WalkGraph, *, power: Power) -> float:
    """Return the expectation over forward walks.

    Args:
        graph: A chain, whose links follow one another.
        power: The bias of the walks.
    """
    flow = exact_flow(graph, backward=False, power=power)
    # For each unit, the probability that a walk visits it times the expected product until there.
    (entry,) = graph.entries
    product = flow.units[entry]
    for index, link in enumerate(graph.links):
        assert (link.source, link.target) == (index, index + 1), "the network must be a chain"
        if isinstance(link, WeightedLink):
            visits = edge_probabilities(graph, index, flow, backward=False, power=power)
            squares = weights_of(graph, link).double().square()
            by_group = (link.num_groups, 1, -1, 1)
            near = flow.links[index].view(by_group)
            share = product.view(by_group) / near.where(near > 0, 1.0)
            product = (visits * squares * share).sum(dim=(2, 3)).view(-1)
        else:
            product = _along_wiring(link.source_groups, link.target_groups, product)
    return float(product.sum())


def _along_wiring(source_groups: object, target_groups: object, values: Tensor) -> Tensor:
    """Divide each unit's value evenly among the units that it leads to."""
    near, far = torch.as_tensor(source_groups), torch.as_tensor(target_groups)
    num_groups = int(far.max()) + 1
    by_group = torch.zeros(num_groups, dtype=values.dtype).index_add_(0, near.long(), values)
    return (by_group / torch.bincount(far, minlength=num_groups))[far.long()]
