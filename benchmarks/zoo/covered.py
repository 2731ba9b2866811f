"""The test of one model of the zoo: it is captured, pruned, and run forward and backward."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from support.machine import median_seconds
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import phew
from phew.graph import WeightedLink
from phew.graph.reach import unreached_weights
from zoo.entry import Inputs
from zoo.models import ZOO

DENSITIES = (0.1, 0.02)


@dataclass(frozen=True)
class Row:
    """The outcome for one model: a failure, or the findings of capture and all times.

    Attributes:
        model: The name in the zoo.
        failure: The error, if there was one.
        num_weights: The number of prunable weights.
        num_links: The number of weighted links.
        approximations: The operations that were replaced by a complete wiring, with the reasons.
        unreached: The number of weights on no path, by parameter.
        without_gradient: Whether nothing among the outputs requires a gradient, so that only the
            forward pass was run.
        capture_seconds: Median seconds of capture.
        forward_seconds: Median seconds of a forward pass without gradients.
        prune_seconds: Seconds of sampling the masks of all densities and applying the first.
    """

    model: str
    failure: str | None = None
    num_weights: int = 0
    num_links: int = 0
    approximations: tuple[str, ...] = ()
    unreached: Mapping[str, int] | None = None
    without_gradient: bool = False
    capture_seconds: float = 0.0
    forward_seconds: float = 0.0
    prune_seconds: float = 0.0


def cover(name: str) -> Row:
    """Capture, prune and run a model of the zoo. An error becomes a row, too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # models warn of their own, phew of approximations
            return _cover(name)
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return Row(name, failure=message[:300])


def _cover(name: str) -> Row:
    torch.manual_seed(0)
    entry = ZOO[name]
    model, inputs = entry.build().eval(), entry.inputs()
    with torch.no_grad():
        run(model, inputs)
        forward_seconds = median_seconds(lambda: run(model, inputs))
    graph = phew.capture(model, inputs)
    capture_seconds = median_seconds(lambda: phew.capture(model, inputs))
    started = time.perf_counter()
    masks = phew.sample_masks(graph, densities=DENSITIES)
    masks[0].apply(model)
    prune_seconds = time.perf_counter() - started
    has_gradient = True
    for density, mask in zip(DENSITIES, masks, strict=True):
        mask.apply(model)  # walks of one seed: the higher density keeps all that the lower does
        check_pruned(model, mask, density)
        has_gradient &= train_once(model, inputs)
    return Row(
        model=name,
        num_weights=graph.num_prunable_weights,
        num_links=sum(isinstance(link, WeightedLink) for link in graph.links),
        approximations=tuple(f"{each}: {each.reason}" for each in graph.notes.approximations),
        unreached=unreached_weights(graph),
        without_gradient=not has_gradient,
        capture_seconds=capture_seconds,
        forward_seconds=forward_seconds,
        prune_seconds=prune_seconds,
    )


def run(model: nn.Module, inputs: Inputs) -> Any:
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def check_pruned(model: nn.Module, masks: phew.Masks, density: float) -> None:
    assert masks.num_kept >= round(density * masks.num_weights)
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        assert not parameters[name][~mask].any(), name


def train_once(model: nn.Module, inputs: Inputs) -> bool:
    """Run forward, and backward from the sum of all outputs, if any requires a gradient."""
    leaves = tree_leaves(run(model, inputs))
    outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.requires_grad]
    if outputs:
        model.zero_grad()
        torch.stack([output.abs().sum() for output in outputs]).sum().backward()
        assert any(parameter.grad is not None for parameter in model.parameters())
    return bool(outputs)
