from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from random_graphs import random_graph
from torch import nn

import phew
from phew import Masks
from phew.engine import LinkLoader, walk_engine
from phew.forecast import Forecast
from phew.graph import WalkGraph, WeightedLink
from phew.models import lenet5, resnet_cifar
from phew.options import Options
from phew.reference import Reference
from phew.sampling import Sampler

OPTIONS = [
    {"fork": fork, "granularity": granularity, "power": power}
    for fork, granularity, power in product(
        ("uniform", "mass"), ("weight", "kernel"), (1, 0, 2, -1)
    )
]
SCHEDULES = list(product((1, 2, 3, 7), (1, 7, 1 << 20)))
NUM_GRAPHS = 160
DENSITIES = [0.01, 0.05, 0.1, 0.3, 0.5, 0.8, 0.9, 0.98]


def as_arrays(masks: Masks) -> dict[str, Any]:
    return {name: mask.numpy() for name, mask in masks.items()}


def assert_equal(
    masks: dict[str, torch.Tensor] | Masks, expected: dict[str, Any] | Masks, message: str = ""
) -> None:
    assert masks.keys() == expected.keys()
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask.cpu(), expected[name], err_msg=f"{message} {name}")


def densities_within_reach(
    rng: np.random.Generator, graph: WalkGraph, reference: Reference
) -> list[float]:
    """Draw up to three densities that at most 60 walks, now and then 400, are enough for."""
    num_walks = 400 if rng.random() < 0.1 else 60
    visited = {visit for walk in range(num_walks) for visit in reference.walk(walk)}
    targets = rng.integers(1, len(visited), size=3, endpoint=True) if visited else []
    return [int(target) / graph.num_prunable_weights for target in targets]


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: "-".join(map(str, options.values()))
)
def test_masks_are_those_of_the_reference(options: dict[str, Any]) -> None:
    for seed in range(OPTIONS.index(options), NUM_GRAPHS, len(OPTIONS)):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        options["seed"] = int(rng.integers(2**64, dtype=np.uint64))
        reference = Reference(graph, **options)
        densities = densities_within_reach(rng, graph, reference)
        expected = [reference.sample_masks(density) for density in densities]
        # All from one run, here in any order, equal those of separate runs.
        for masks, result in zip(
            phew.sample_masks(graph, densities=densities, **options), expected, strict=True
        ):
            assert masks.num_walks == result.num_walks
            assert_equal(masks, result.masks, f"graph {seed}")
        for number in rng.choice(len(SCHEDULES), size=3, replace=False):
            num_threads, batch_size = SCHEDULES[number]
            sampler = Sampler(
                graph, Options(**options), num_threads=num_threads, batch_size=batch_size
            )
            ascending = sorted(expected, key=lambda result: result.num_walks)
            targets = sorted(sampler.target(density) for density in densities)
            for sample, result in zip(sampler.run(targets), ascending, strict=True):
                assert sample.num_walks == result.num_walks, f"graph {seed}, {SCHEDULES[number]}"
                assert_equal(sample.visited, result.masks, f"graph {seed}, {SCHEDULES[number]}")
