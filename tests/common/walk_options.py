"""The options of walks that tests go through, and the graphs that each of them is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import get_args

import pytest

from phew.walks.options import Fork, Granularity, Options, Power

OPTIONS = [
    Options(fork=fork, granularity=granularity, power=power)
    for fork, granularity, power in product(*map(get_args, (Fork, Granularity, Power)))
]
OPTIONS_BY_WEIGHT = [options for options in OPTIONS if options.granularity == "weight"]


def describe(options: Options) -> str:
    return f"{options.fork}-{options.granularity}-{options.power}"


with_options = pytest.mark.parametrize("options", OPTIONS, ids=describe)
with_options_by_weight = pytest.mark.parametrize("options", OPTIONS_BY_WEIGHT, ids=describe)


def graph_seeds(
    options: Options, num_graphs: int, among: Sequence[Options] = tuple(OPTIONS)
) -> range:
    """Return the seeds of the random graphs that walks with these options are tested on.

    With two options and five graphs, the first has the seeds 0 2 4 and the second 1 3.

    Args:
        options: The options.
        num_graphs: The number of graphs of all options together.
        among: All options of the test.
    """
    return range(among.index(options), num_graphs, len(among))
