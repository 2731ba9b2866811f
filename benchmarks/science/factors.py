"""Does PHEW come nearer to SynFlow with width, depth, batch norm or rescaling?

Each factor is a family of networks, or of ways to rescale one network. Methods are compared with
the same initial weights and batches, so differences between them are taken seed by seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from phew.masks.rescaling import Rescale
from science.intervals import Interval, interval
from science.jobs import DENSE
from science.networks import CHANNELS, DEPTHS, WIDTHS

RIVALS = ("SynFlow", "SynFlow-L2")
DENSITIES = (0.1, 0.05)


@dataclass(frozen=True)
class Factor:
    """One thing that differs between networks.

    Attributes:
        name: One word.
        title: The description of its levels.
        levels: By the label of each level, the network and how it is rescaled.
        as_many_as: If it is not "", the network whose number of kept weights all have.
    """

    name: str
    title: str
    levels: dict[str, tuple[str, Rescale]]
    as_many_as: str = ""

    def as_many_as_of(self, network: str) -> str:
        """Return the network that decides how many weights of a network are kept, if another."""
        return self.as_many_as if self.as_many_as != network else ""


FACTORS = (
    Factor(
        "width",
        "units of each of 3 hidden layers, as many weights kept",
        {str(width): (f"3 x {width}", "auto") for width in WIDTHS},
        as_many_as="3 x 128",
    ),
    Factor(
        "channels",
        "channels of the first of 3 convolutions, as many weights kept",
        {str(width): (f"conv {width}", "auto") for width in CHANNELS},
        as_many_as="conv 16",
    ),
    Factor(
        "depth",
        "hidden layers of 128 units, the same share of weights kept",
        {str(depth): (f"{depth} x 128", "auto") for depth in DEPTHS},
    ),
    Factor(
        "scale",
        "3 hidden layers of 128 units, the same share of weights kept",
        {
            "as it is": ("3 x 128", "none"),
            "rescaled": ("3 x 128", "auto"),
            "batch norm": ("3 x 128, batch norm", "auto"),
        },
    ),
)

BySeed: TypeAlias = dict[int, float]
Accuracies: TypeAlias = dict[tuple[str, float, str], dict[str, BySeed]]
"""By data set, density and method: the accuracies at each level, in the order of levels."""


def accuracies_of(factor: Factor, rows: Iterable[Mapping[str, Any]]) -> Accuracies:
    """Return the accuracies of the networks of a factor, dense ones included."""
    by_network: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["ablation"] == "none":
            by_network[row["network"]].append(row)
    accuracies: Accuracies = defaultdict(lambda: defaultdict(dict))
    for level, (network, rescale) in factor.levels.items():
        way = rescale, factor.as_many_as_of(network)
        for row in by_network[network]:
            if row["method"] == DENSE or (row["rescale"], row["as_many_as"]) == way:
                key = row["data"], row["density"], row["method"]
                accuracies[key][level][row["seed"]] = row["accuracy"]
    return accuracies


def gaps_of(accuracies: Accuracies, data: str, density: float, rival: str) -> dict[str, BySeed]:
    """Return PHEW's accuracy less a rival's at each level that both have, seed by seed."""
    ours, theirs = (accuracies.get((data, density, method), {}) for method in ("PHEW", rival))
    return {
        level: {seed: ours[level][seed] - theirs[level][seed] for seed in seeds}
        for level in ours
        if (seeds := ours[level].keys() & theirs.get(level, {}).keys())
    }


def change_of(gaps: Iterable[BySeed]) -> Interval:
    """Return by how much the gap of the last level is above that of the first, seed by seed."""
    first, *_, last = gaps
    return interval([last[seed] - first[seed] for seed in first.keys() & last.keys()])
