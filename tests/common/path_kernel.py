"""The trace of the path kernel: how much weight the kept paths carry.

Source: Gebhart, Saxena, Schrater, A Unified Paths Perspective for Pruning at Initialization, 2021.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn


def path_kernel_trace(
    network: nn.Module, input_shape: tuple[int, ...], masks: Mapping[str, torch.Tensor]
) -> float:
    """Sum over paths and their weights the product of the path's other weights, all squared.

    That is the gradient, in the squared weights, of what the network of squared weights without
    biases makes of an input of ones. There no activation is negative, so ReLU changes nothing, and
    max pooling passes the place where most paths meet.

    Args:
        network: A network of convolutions, linear layers, ReLU and max pooling.
        input_shape: Shape of one input.
        masks: Masks of all its weights.
    """
    squared = copy.deepcopy(network).double()
    with torch.no_grad():
        for name, parameter in squared.named_parameters():
            if name in masks:
                parameter.square_().mul_(masks[name])
            else:
                parameter.zero_()
    squared(torch.ones(1, *input_shape, dtype=torch.float64)).sum().backward()
    return sum(
        float(parameter.grad[masks[name]].sum())
        for name, parameter in squared.named_parameters()
        if name in masks and parameter.grad is not None
    )
