"""The claims, and whether results speak for or against them."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from support.markdown import significant

from science.intervals import Interval, interval
from science.jobs import DENSE, ONE_WALK, TRAINING_STEP
from science.networks import PAPER_NETWORKS, SMALL_NETWORKS
from science.pruning import METHODS

Row: TypeAlias = Mapping[str, Any]
Verdict: TypeAlias = Literal["holds", "does not hold", "undecided"]

FAR_WIDER = 1.1
"""PHEW must have this many times as many active units, at a density of at most `SPARSE`."""

FAR_HIGHER = 2.0
"""PHEW must have this many times the path kernel trace, at a density of at most `SPARSE`."""

SPARSE = 0.1
GAIN = (1.8, 2.2)
"""The range that counts as twice, because the last layer has few weights to average over."""


@dataclass(frozen=True)
class Claim:
    """A claim and its verdict.

    Attributes:
        figures: The numbers that decided, one per line.
    """

    name: str
    statement: str
    verdict: Verdict
    figures: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.name}. {self.statement}: {self.verdict}",
                *(f"   {line}" for line in self.figures),
            ]
        )


def judge(rows: Iterable[Row]) -> list[Claim]:
    """Judge all claims that there are results for."""
    by_kind: dict[str, list[Row]] = defaultdict(list)
    # Rows stand in the order in which their jobs ended.
    for row in sorted(rows, key=lambda row: -row.get("density", 0)):
        by_kind[row["kind"]].append(row)
    structures = by_kind["structure"]
    whole = [row for row in by_kind["training"] if row["ablation"] == "none"]
    names = set().union(*PAPER_NETWORKS.values())
    of_paper = [row for row in whole if row["network"] in names]
    small = [row for row in whole if row["network"] in SMALL_NETWORKS]
    trainings = [row for row in small if row["rescale"] == "none"]
    rescaled = [row for row in small if row["rescale"] != "none"]
    claims = [
        *(_wider(structures, other) for other in ("SynFlow", "SynFlow-L2")),
        *(_higher_trace(structures, other) for other in ("random", "uniform walks")),
        _gain_of_a_layer(by_kind["walk product"]),
        _higher_trace(structures, "SynFlow-L2", factor=1.0),
        *_trained(
            trainings, "3", "PHEW's accuracy is above {}'s", lambda row: float(row["accuracy"])
        ),
        *_trained(
            trainings,
            "3, convergence",
            "PHEW's training loss, averaged over the epochs, is below {}'s",
            lambda row: -float(row["loss"]),
        ),
        *_trained(
            rescaled,
            "3, rescaled",
            "With rescaled weights, PHEW's accuracy is above {}'s",
            lambda row: float(row["accuracy"]),
        ),
        *_trained(
            of_paper,
            "3, paper's networks",
            "In networks of the paper, PHEW's accuracy is above {}'s",
            lambda row: float(row["accuracy"]),
        ),
        *_trained(
            of_paper,
            "3, paper's networks, convergence",
            "In networks of the paper, PHEW's training loss, averaged over epochs, is below {}'s",
            lambda row: -float(row["loss"]),
        ),
        _whole(structures),
        *_cheap(by_kind["cost"]),
    ]
    return [claim for claim in claims if claim.figures]


def means(rows: Iterable[Row], keys: tuple[str, ...], value: str) -> dict[tuple[Any, ...], float]:
    """Average a value over the seeds of each combination of other fields."""
    values: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in rows:
        values[tuple(row[key] for key in keys)].append(row[value])
    return {key: statistics.fmean(group) for key, group in values.items()}


def _pairs(
    rows: Iterable[Row], other: str, value: str
) -> Iterator[tuple[str, float, float, float]]:
    """Yield network, density, PHEW's mean and the other's."""
    found = means(rows, ("network", "method", "density"), value)
    for (network, method, density), mean in found.items():
        if method == "PHEW" and (network, other, density) in found:
            yield network, density, mean, found[network, other, density]


def _wider(rows: Iterable[Row], other: str) -> Claim:
    verdicts: list[Verdict] = []
    figures = []
    for network, density, ours, theirs in _pairs(rows, other, "width"):
        is_far = ours >= FAR_WIDER * theirs
        verdicts.append(_verdict(is_far or (ours >= theirs and density > SPARSE), ours < theirs))
        figures.append(
            f"{network} at {density:g}: {ours:.1%} of units active, {other} {theirs:.1%}"
        )
    return Claim(
        "1",
        f"PHEW keeps at least as many active units as {other}, at {SPARSE:.0%} and less "
        f"{FAR_WIDER:g} times as many",
        _worst(verdicts),
        tuple(figures),
    )


def _higher_trace(rows: Iterable[Row], other: str, *, factor: float = FAR_HIGHER) -> Claim:
    verdicts: list[Verdict] = []
    figures = []
    for network, density, ours, theirs in _pairs(rows, other, "trace"):
        is_far = ours >= factor * theirs
        verdicts.append(_verdict(is_far or (ours > theirs and density > SPARSE), ours < theirs))
        ratio = significant(ours / theirs) if theirs else "infinitely many"
        figures.append(f"{network} at {density:g}: {ratio} times that of {other}")
    far = f", at {SPARSE:.0%} and less {factor:g} times as high" if factor > 1 else ""
    return Claim(
        "2",
        f"PHEW's path kernel trace is above that of {other}{far}",
        _worst(verdicts),
        tuple(figures),
    )


def _gain_of_a_layer(rows: Iterable[Row]) -> Claim:
    verdicts: list[Verdict] = []
    figures = []
    for row in rows:
        is_two = GAIN[0] <= row["per_layer"] <= GAIN[1]
        verdicts.append(_verdict(is_two, not is_two))
        figures.append(
            f"{row['network']}: {row['per_layer']:.3f} per layer, {significant(row['ratio'])} over "
            f"{row['num_layers']} layers"
        )
    return Claim(
        "2",
        "A walk's expected product of squared weights is twice a uniform walk's per Gaussian layer",
        _worst(verdicts),
        tuple(figures),
    )


def _trained(
    rows: Iterable[Row], name: str, statement: str, value: Callable[[Row], float]
) -> Iterator[Claim]:
    """Compare PHEW with each method, seed by seed, averaged over densities."""
    values: dict[tuple[str, str], dict[str, dict[tuple[int, float], float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in rows:
        if row["method"] != DENSE:
            case = values[row["data"], row["network"]]
            case[row["method"]][row["seed"], row["density"]] = value(row)
    trained = {method for case in values.values() for method in case}
    for other in (method for method in METHODS if method in trained - {"PHEW"}):
        verdicts: list[Verdict] = []
        figures = []
        for (data, network), methods in values.items():
            differences = _differences(methods["PHEW"], methods[other])
            if differences:
                # With several cases, one of them would leave a 95 % interval by chance too often.
                strict = _overall(differences, confidence=1 - 0.05 / len(values))
                verdicts.append(_verdict(strict.is_above_zero, strict.is_below_zero))
                figures.append(f"{data}, {network}: {_described(differences)}")
        yield Claim(name, statement.format(other), _worst(verdicts), tuple(figures))


def _differences(
    ours: Mapping[tuple[int, float], float], theirs: Mapping[tuple[int, float], float]
) -> dict[float, dict[int, float]]:
    """Return our value less theirs, by density and seed."""
    differences: dict[float, dict[int, float]] = defaultdict(dict)
    for seed, density in ours.keys() & theirs.keys():
        differences[density][seed] = ours[seed, density] - theirs[seed, density]
    return differences


def _overall(
    differences: Mapping[float, Mapping[int, float]], *, confidence: float = 0.95
) -> Interval:
    """Average over densities. The interval is over the seeds that have all densities."""
    seeds = set.intersection(*(set(by_seed) for by_seed in differences.values()))
    by_seed = [[values[seed] for values in differences.values()] for seed in sorted(seeds)]
    means = [statistics.fmean(values) for values in by_seed]
    return interval(means or [math.nan], confidence=confidence)


def _described(differences: Mapping[float, Mapping[int, float]]) -> str:
    overall = _overall(differences)
    intervals = [interval(list(seeds.values())) for seeds in differences.values()]
    num_better = sum(each.is_above_zero for each in intervals)
    num_worse = sum(each.is_below_zero for each in intervals)
    return (
        f"by {overall.mean:+.4f} ± {overall.margin:.4f}; better at {num_better} and worse at "
        f"{num_worse} of {len(intervals)} densities"
    )


def _whole(rows: Iterable[Row]) -> Claim:
    verdicts: list[Verdict] = []
    figures = []
    by_case: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        if row["method"] == "PHEW":
            by_case[row["network"], row["density"]].append(row)
    for (network, density), group in by_case.items():
        num_dead = max(row["dead_layers"] for row in group)
        is_whole = all(
            row["effective_density"] == 1 and row["log10_num_paths"] is not None for row in group
        )
        verdicts.append(_verdict(is_whole, not is_whole))
        at = "one walk" if density == ONE_WALK else f"{density:g}"
        paths = "all kept weights on a path" if is_whole else "dead weights, or no path"
        beside = f"; {num_dead} layers beside a shortcut without weights" if num_dead else ""
        figures.append(f"{network} at {at}: {paths}{beside}")
    return Claim(
        "4",
        "No layer collapse and no dead weights at any density, down to one walk",
        _worst(verdicts),
        tuple(figures),
    )


def _cheap(rows: Iterable[Row]) -> Iterator[Claim]:
    seconds = {(row["network"], row["method"]): row["seconds"] for row in rows}
    for network, other, limit, statement in (
        ("vgg19_bn", "SynFlow", 1 / 50, "a fiftieth of SynFlow's 100 iterations"),
        ("resnet50", TRAINING_STEP, 1, "one training step of batch 32 at 224 pixels"),
    ):
        pair = (network, "PHEW"), (network, other)
        figures = []
        verdict: Verdict = "undecided"
        if all(key in seconds for key in pair):
            ours, theirs = (seconds[key] for key in pair)
            verdict = _verdict(ours < limit * theirs, ours >= limit * theirs)
            figures = [
                f"{significant(ours)} s against {significant(theirs)} s: "
                f"1 / {significant(theirs / ours)}"
            ]
        yield Claim(
            "5", f"PHEW at 10 % on {network} costs less than {statement}", verdict, tuple(figures)
        )


def _verdict(speaks_for: bool, speaks_against: bool) -> Verdict:
    if speaks_against:
        return "does not hold"
    return "holds" if speaks_for else "undecided"


def _worst(verdicts: list[Verdict]) -> Verdict:
    """Return "holds" if the claim holds in all cases, "does not hold" if it fails in one."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "undecided" if "undecided" in verdicts or not verdicts else "holds"
