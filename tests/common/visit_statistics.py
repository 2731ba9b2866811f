"""Count how often walks visit each weight, and compare that with what is expected."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import chi2, norm

from phew.graph import WalkGraph, WeightedLink
from phew.walks.cpu_engine import CpuEngine
from phew.walks.options import Options

WALKS_AT_ONCE = 50_000

Counts = npt.NDArray[np.int64]


class Direction(NamedTuple):
    """Visits by walks of one direction, per link, one count for each element of its parameter."""

    forward: dict[int, Counts]
    backward: dict[int, Counts]


def visit_counts(graph: WalkGraph, num_walks: int, options: Options) -> Direction:
    """Count the visits of walks 0 .. num_walks - 1 over the links of prunable parameters."""
    links = prunable_links(graph)
    # Each link gets a parameter of its own, so that visits tell the link.
    untied = replace(
        graph,
        links=tuple(
            replace(link, parameter=str(index)) if isinstance(link, WeightedLink) else link
            for index, link in enumerate(graph.links)
        ),
        parameters={
            str(index): graph.parameters[link.parameter]
            for index, link in enumerate(graph.links)
            if isinstance(link, WeightedLink)
        },
        prunable=tuple(map(str, links)),
    )
    engine = CpuEngine(untied, options, num_threads=2)
    unvisited = {
        name: torch.zeros(untied.parameters[name].shape, dtype=torch.uint8)
        for name in untied.prunable
    }
    counts = Direction(
        *(
            {
                index: np.zeros(graph.parameters[link.parameter].numel(), dtype=np.int64)
                for index, link in links.items()
            }
            for _ in Direction._fields
        )
    )
    for first_walk in range(0, num_walks, WALKS_AT_ONCE):
        weights, walks = engine.walk(
            range(first_walk, min(first_walk + WALKS_AT_ONCE, num_walks)),
            unvisited,
            first_listed=first_walk,
            batch_size=WALKS_AT_ONCE,
        )
        for parity, by_link in enumerate(counts):
            for index, by_element in by_link.items():
                elements = weights[walks % 2 == parity] - untied.first_numbers[str(index)]
                chosen = elements[(elements >= 0) & (elements < len(by_element))]
                by_element += np.bincount(chosen.numpy(), minlength=len(by_element))
    return counts


def prunable_links(graph: WalkGraph) -> dict[int, WeightedLink]:
    return {
        index: link
        for index, link in enumerate(graph.links)
        if isinstance(link, WeightedLink) and link.parameter in graph.prunable
    }


def excess(counts: Counts, probabilities: npt.NDArray[np.float64], num_walks: int) -> float:
    """Return by how much counts of a link scatter more about their expectation than chance would.

    A walk takes at most one edge of a link, so the counts are multinomial.

    Returns:
        The chi-square statistic as a standard normal z of the same tail probability; cells with an
        expectation below 5 are pooled.
    """
    assert not counts[probabilities == 0].any()
    not_taken = max(1 - probabilities.sum(), 0)
    observed = np.append(counts, num_walks - counts.sum())
    expected = np.append(probabilities, not_taken) * num_walks
    order = np.argsort(expected)
    observed, expected = observed[order], expected[order]
    # The rarest cells are pooled until the pool and every other cell expect 5 visits.
    num_pooled = max(
        int(np.searchsorted(expected, 5)), int(np.searchsorted(np.cumsum(expected), 5) + 1)
    )
    starts = np.concatenate([[0], np.arange(num_pooled, len(expected))])
    observed, expected = np.add.reduceat(observed, starts), np.add.reduceat(expected, starts)
    if len(expected) == 1:
        return 0.0
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return float(norm.isf(chi2.sf(statistic, len(expected) - 1)))


def difference(counts: Counts, others: Counts, num_strata: int = 1) -> float:
    """Return by how much two samples of equally many walks differ more than chance would.

    Args:
        counts: Visits of the weights of one layer.
        others: The same of the other sample.
        num_strata: In how many parts the samples have equal numbers by design, e.g. the number of
            units that walks start from in turn.

    Returns:
        The two-sample chi-square statistic over all weights, in standard deviations from its mean.
    """
    total = counts + others
    visited = total > 0
    total, gap = total[visited], (counts - others)[visited]
    # Each sample has a binomial half of a weight's total, so gap^2 / total has these moments.
    variance = (2 - 2 / total).sum()
    return float(((gap**2 / total).sum() - (len(total) - num_strata)) / np.sqrt(variance))
