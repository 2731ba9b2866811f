"""The graphs that benchmarks walk on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import phew
from phew.graph import Space, WalkGraph, WeightedLink
from phew.models import NETWORKS

WIDE_CHAIN = (*(4096, 11_008) * 4, 4096)
"""The units of a chain of 8 layers with 360 million weights, as wide as a language model's."""

CHAINS = {"wide chain": WIDE_CHAIN}
QUICK_GRAPHS = ("lenet5",)
GRAPHS = ("lenet_300_100", "vgg19_bn", "resnet50", *CHAINS)


def build_network(name: str) -> tuple[nn.Module, Tensor]:
    """Build one of phew's networks, and an example of its input."""
    torch.manual_seed(0)
    network = NETWORKS[name]
    return network.build(), torch.zeros(1, *network.input_shape)


def build_graph(name: str) -> WalkGraph:
    """Build a chain, or capture one of phew's networks."""
    if name in CHAINS:
        return chain_of(random_weights(CHAINS[name]))
    return phew.capture(*build_network(name))


def random_weights(sizes: Sequence[int]) -> list[Tensor]:
    """Draw the weights (targets x sources) of linear layers between spaces of these sizes."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.empty(num_targets, num_sources).normal_(generator=generator)
        for num_sources, num_targets in itertools.pairwise(sizes)
    ]


def chain_of(weights: Sequence[Tensor]) -> WalkGraph:
    """Make the graph of a chain of linear layers from their weights (targets x sources)."""
    sizes = [weights[0].shape[1], *(len(weight) for weight in weights)]
    parameters = {f"layer{index}": weight for index, weight in enumerate(weights)}
    links = [
        WeightedLink(
            source=index,
            target=index + 1,
            parameter=name,
            num_groups=1,
            targets_per_group=len(weight),
            sources_per_group=weight.shape[1],
            num_positions=1,
            strides=(weight.numel(), weight.shape[1], 1, 1),
        )
        for index, (name, weight) in enumerate(parameters.items())
    ]
    return WalkGraph(
        spaces=tuple(Space(f"units{index}", size) for index, size in enumerate(sizes)),
        links=tuple(links),
        entries=(0,),
        exits=(len(weights),),
        parameters=parameters,
        prunable=tuple(parameters),
    )
