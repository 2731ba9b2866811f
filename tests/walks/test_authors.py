"""Walks and masks are like those of the authors' code on the same weights (see data/README.md)."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import json
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from authors_networks import DATA, NETWORKS, masks_of_ones
from path_kernel import path_kernel_trace
from visit_statistics import difference, prunable_links, visit_counts

import phew
from phew.walks.options import Options

NUM_SEEDS = 12
BOUND = 4.0
"""The largest difference, in standard deviations or standard errors."""


@pytest.mark.parametrize("name", ["mlp", "convnet5"])
def test_walks_visit_as_the_authors_do(name: str) -> None:
    authors = NETWORKS[name]
    graph = phew.capture(authors.network(name), torch.zeros(1, *authors.input_shape))
    visits = np.load(DATA / f"{name}_visits.npz")
    links = prunable_links(graph)
    for direction, counts in visit_counts(graph, 400_000, Options())._asdict().items():
        # Walks start from all inputs (outputs) equally often, in both samples.
        first = min(links) if direction == "forward" else max(links)
        for index, link in links.items():
            near = link.source if direction == "forward" else link.target
            z = difference(
                counts[index],
                visits[f"{direction}.{link.parameter}"].reshape(-1).astype(np.int64),
                num_strata=graph.spaces[near].num_units if index == first else 1,
            )
            assert abs(z) < BOUND, f"{direction} {link.parameter}"


def authors_statistics(name: str) -> dict[str, Any]:
    statistics: dict[str, Any] = json.loads((DATA / "statistics.json").read_text())[name]
    return statistics


def statistics_of(name: str) -> dict[float, dict[str, list[float]]]:
    """Return per density the values of each statistic over seeds."""
    authors = NETWORKS[name]
    network = authors.network(name)
    graph = phew.capture(network, torch.zeros(1, *authors.input_shape))
    dense_trace = path_kernel_trace(network, authors.input_shape, masks_of_ones(network))
    densities = [0.02, 0.05, 0.1, 0.2, 0.5]
    statistics: dict[float, dict[str, list[float]]] = {density: {} for density in densities}
    for seed in range(NUM_SEEDS):
        masks_of = phew.sample_masks(graph, densities=densities, seed=seed)
        for values, masks in zip(statistics.values(), masks_of, strict=True):
            trace = path_kernel_trace(network, authors.input_shape, masks) / dense_trace
            figures: dict[str, Any] = {"walks": masks.num_walks, "path_kernel_trace": trace}
            figures |= {name: float(mask.double().mean()) for name, mask in masks.items()}
            for statistic, value in figures.items():
                values.setdefault(statistic, []).append(value)
    return statistics


def standard_errors(ours: list[float], authors: dict[str, float]) -> float:
    """Return the distance of two means over seeds, in standard errors.

    The authors' figures are exact to 1e-8, which counts as the error where neither set scatters.
    """
    error = ((stdev(ours) ** 2 + authors["std"] ** 2) / NUM_SEEDS) ** 0.5
    return abs(mean(ours) - authors["mean"]) / max(error, 1e-8)


@pytest.mark.parametrize("name", NETWORKS)
def test_masks_are_like_those_of_the_authors(name: str) -> None:
    expected = authors_statistics(name)["densities"]
    for density, statistics in statistics_of(name).items():
        authors = expected[str(density)]
        assert statistics.keys() == authors.keys()
        for statistic, values in statistics.items():
            z = standard_errors(values, authors[statistic])
            assert z < BOUND, f"{statistic} at {density}: {mean(values)}, {authors[statistic]}"


@pytest.mark.parametrize("name", NETWORKS)
def test_path_kernel_trace_of_the_dense_network_is_that_of_the_authors(name: str) -> None:
    network = NETWORKS[name].network(name)
    trace = path_kernel_trace(network, NETWORKS[name].input_shape, masks_of_ones(network))
    # Only the weights of convnet5 are stored without rounding.
    tolerance = 1e-12 if name == "convnet5" else 1e-3
    assert trace == pytest.approx(
        authors_statistics(name)["dense_path_kernel_trace"], rel=tolerance
    )
