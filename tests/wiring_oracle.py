"""The wiring between weighted operations as autograd sees it, which knows nothing of capture."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from phew.graph import WalkGraph, WeightedLink

WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
Wiring = dict[tuple[str, str], npt.NDArray[np.bool_]]


class PositiveSlopes(TorchFunctionMode):
    """Replaces ReLU, whose slope can be zero."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in (F.relu, torch.relu):
            return F.leaky_relu(args[0], 0.5)
        return func(*args, **(kwargs or {}))


def without_statistics(model: nn.Module) -> nn.Module:
    """Return a copy without normalisations that mix units through statistics of the example."""
    model = copy.deepcopy(model).eval()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm | nn.LayerNorm):
                setattr(module, name, nn.Identity())
    return model


def autograd_wiring(model: nn.Module, example_inputs: tuple[torch.Tensor, ...]) -> Wiring:
    """Return for each pair of weighted modules whether an input unit of the second depends on an
    output unit of the first through unweighted operations only.

    Every output of a weighted module is cut off and made a leaf. Matrices have the shape
    (output units, input units).
    """
    model = without_statistics(model)
    leaves: dict[str, torch.Tensor] = {}
    inputs: dict[str, torch.Tensor] = {}
    names = {module: name for name, module in model.named_modules()}

    def cut(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        leaf = output.detach().requires_grad_()
        leaves[names[module]], inputs[names[module]] = leaf, args[0]
        return leaf.clone()

    for module in model.modules():
        if isinstance(module, WEIGHTED):
            module.register_forward_hook(cut)
    with PositiveSlopes():
        model(*example_inputs)
    wiring: Wiring = {}
    for name, activation in inputs.items():
        rows = _by_unit(activation, model.get_submodule(name))
        gradients = [
            torch.autograd.grad(
                row.sum(), list(leaves.values()), retain_graph=True, allow_unused=True
            )
            for row in rows
            if row.requires_grad
        ]
        for leaf_name, columns in zip(leaves, zip(*gradients, strict=True), strict=False):
            if all(column is None for column in columns):
                continue
            module = model.get_submodule(leaf_name)
            wiring[leaf_name, name] = np.stack(
                [_depends(column, leaves[leaf_name], module) for column in columns], axis=1
            )
    return wiring


def _by_unit(activation: torch.Tensor, module: nn.Module) -> torch.Tensor:
    axis = -1 if isinstance(module, nn.Linear) else 1
    return activation.movedim(axis, 0).flatten(1)


def _depends(
    gradient: torch.Tensor | None, leaf: torch.Tensor, module: nn.Module
) -> npt.NDArray[np.bool_]:
    values = torch.zeros_like(leaf) if gradient is None else gradient
    return (_by_unit(values, module) != 0).any(dim=1).numpy()


def graph_wiring(graph: WalkGraph) -> Wiring:
    """Return the same of a walk graph: which units its wiring links join."""
    weighted = [link for link in graph.links if isinstance(link, WeightedLink)]
    wiring: Wiring = {}
    for first in weighted:
        num_units = graph.spaces[first.target].num_units
        reached = {first.target: np.eye(num_units, dtype=np.bool_)}
        for space in range(first.target, len(graph.spaces)):
            for index in graph.links_from[space]:
                link = graph.links[index]
                if space not in reached or isinstance(link, WeightedLink):
                    continue
                rows = np.stack([link.reach(units) for units in reached[space]])
                reached[link.target] = reached.get(link.target, np.zeros_like(rows)) | rows
        for second in weighted:
            if second.source in reached:
                names = (_module(first.parameter), _module(second.parameter))
                wiring[names] = reached[second.source]
    return wiring


def _module(parameter: str) -> str:
    return parameter.removesuffix(".weight")
