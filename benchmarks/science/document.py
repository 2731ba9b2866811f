"""The tables of docs/science_tables.md, and the figures there and in docs/science.md."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from support.machine import environment
from support.markdown import mebibytes, significant, table
from support.plots import DOCS, save

from phew import plot
from science.claims import Claim, Row, means
from science.factors import (
    FACTORS,
    RIVALS,
    Accuracies,
    Factor,
    accuracies_of,
    change_of,
    gaps_of,
)
from science.figures import draw_balance, draw_gaps
from science.intervals import interval
from science.jobs import DENSE, ONE_WALK
from science.networks import FAMILIES
from science.pruning import METHODS

DOCUMENT = DOCS / "science_tables.md"

TIMES = {"epochs": "epochs", "seconds": "seconds", "processor_seconds": "processor seconds"}
ABLATIONS = {
    "none": "as chosen",
    "shuffled": "shuffled in each layer",
    "redrawn": "weights drawn anew",
}
STRUCTURE: dict[str, tuple[str, Callable[[float], str]]] = {
    "Active units": ("width", lambda value: f"{value:.1%}"),
    "Weights on a path": ("effective_density", lambda value: f"{value:.1%}"),
    "Path kernel trace": ("trace", lambda value: f"{value:.2g}"),
    "FLOPs kept": ("kept_flops", lambda value: f"{value:.1%}"),
}
"""The key of a value in rows and the function that formats it, by the title of their table."""


def write(rows: Sequence[Row], claims: Sequence[Claim]) -> None:
    """Write docs/science_tables.md anew, and draw the figures."""
    kinds: dict[str, list[Row]] = defaultdict(list)
    # Rows stand in the order in which their jobs ended.
    for row in sorted(rows, key=lambda row: -row.get("density", 0)):
        kinds[row["kind"]].append(row)
    setting = environment()
    parts = [
        "# Tables of the paper's claims",
        "The numbers behind [The paper's claims, tested](science.md), written by "
        f"`python -m benchmarks.science --write-results` on {setting['date']}.",
        *_verdicts(claims),
    ]
    for kind, section in SECTIONS:
        if kinds[kind]:
            parts += section(kinds[kind])
    DOCUMENT.write_text("\n\n".join(parts) + "\n")


def _verdicts(claims: Iterable[Claim]) -> list[str]:
    rows = [(claim.name, claim.statement, f"**{claim.verdict}**") for claim in claims]
    parts = ["## Verdicts", table(("claim", "", "verdict"), rows, num_words=3)]
    for claim in claims:
        lines = "\n".join(f"- {line}" for line in claim.figures)
        parts.append(
            f"<details><summary>{claim.name}. {claim.statement}: {claim.verdict}</summary>"
        )
        parts += [lines, "</details>"]
    return parts


def _accuracies(rows: Iterable[Row]) -> list[str]:
    """Make tables and figures of the test accuracy of each data set and network."""
    cases: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        # Families have tables of their own.
        if row["ablation"] != "none" or row["network"] in FAMILIES:
            continue
        rescaled = ["rescaled"] if row["rescale"] != "none" else []
        cases[(row["data"], row["network"], *rescaled)].append(row)
    parts = ["## Accuracy"]
    for case, group in cases.items():
        values: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in group:
            values[row["method"]][row["density"]].append(row["accuracy"])
        title, name = ", ".join(case), "_".join(["science", *case])
        save(plot.accuracy(values, title=title), name)
        num_seeds = len({row["seed"] for row in group})
        parts += [
            f"### {title}",
            f"Test accuracy in percent, mean and 95 % interval over {num_seeds} seeds; in bold the "
            "best mean of each density, and what has it within its own interval.",
            _accuracy_table(values),
            f"![{title}](figures/{name}.svg)",
        ]
    return parts


def _accuracy_table(values: Mapping[str, Mapping[float, Sequence[float]]]) -> str:
    methods = [method for method in METHODS if method in values]
    densities = sorted({density for method in methods for density in values[method]}, reverse=True)
    rows = []
    for density in densities:
        found = {method: interval(values[method][density]) for method in methods}
        best = max(each.mean for each in found.values())
        cells = [
            f"**{each.percent()}**" if each.mean + each.margin >= best else each.percent()
            for each in found.values()
        ]
        rows.append((f"{density:.1%}", *cells))
    if DENSE in values:
        (dense,) = values[DENSE].values()
        rows.append(("dense", interval(dense).percent(), *[""] * (len(methods) - 1)))
    return table(("density", *methods), rows, num_words=1)


def _factors(rows: Sequence[Row]) -> list[str]:
    """Make a table and a figure for each thing that differs between networks of a family."""
    parts = []
    for factor in FACTORS:
        accuracies = accuracies_of(factor, rows)
        if any(method == "PHEW" for _, _, method in accuracies):
            save(draw_gaps(factor, accuracies), f"science_{factor.name}")
            parts += [
                f"### {factor.name.capitalize()}",
                f"By {factor.title}:",
                _factor_table(factor, accuracies),
            ]
    if not parts:
        return []
    return [
        "## What decides how far PHEW is from SynFlow",
        "Test accuracy in percent, and PHEW's less another's in points, with 95 % intervals. The "
        "last column is the change of this gap from the first level to the last.",
        *parts,
    ]


def _factor_table(factor: Factor, accuracies: Accuracies) -> str:
    lines = []
    for data, density, method in sorted(accuracies, key=lambda key: (key[0], -key[1], key[2])):
        if method in RIVALS:
            label, values = f"PHEW less {method}", gaps_of(accuracies, data, density, method)
            is_whole = len(values) == len(factor.levels)
            change = change_of(values.values()).percent() if is_whole else ""
        else:
            label, values, change = method, accuracies[data, density, method], ""
        cells = (
            interval(list(values[level].values())).percent() if level in values else ""
            for level in factor.levels
        )
        lines.append((data, f"{density:.0%}", label, *cells, change))
    return table(("data", "density", "", *factor.levels, "change"), lines, num_words=3)


def _ablations(rows: Sequence[Row]) -> list[str]:
    """Make a table of accuracies with and without a part of each method's choice."""
    by_case: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        rescaled = ", rescaled" if row["rescale"] != "none" else ""
        by_case[row["data"], f"{row['network']}{rescaled}", row["density"]].append(row)
    ablated = {row["method"] for row in rows if row["ablation"] != "none"}
    if not ablated:
        return []
    methods = [method for method in METHODS if method in ablated]
    lines = []
    for (data, network, density), group in by_case.items():
        seeds = {row["seed"] for row in group if row["ablation"] != "none"}
        if not seeds:
            continue
        same = [row for row in group if row["seed"] in seeds]
        values = means(same, ("ablation", "method"), "accuracy")
        for ablation, label in ABLATIONS.items():
            found = (values.get((ablation, method)) for method in methods)
            cells = ("" if value is None else f"{100 * value:.1f}" for value in found)
            lines.append((data, network, f"{density:.1%}", label, *cells))
    header = ("data", "network", "density", "masks and weights", *methods)
    return [
        "## Without a part of a method's choice",
        "Mean accuracy in percent, with the same seeds in all rows of a case:",
        table(header, lines, num_words=4),
    ]


def _structures(rows: Sequence[Row]) -> list[str]:
    """Make tables of what is left of networks, with one column per method, and a figure."""
    save(draw_balance(rows), "science_balance")
    parts = ["## What is left of a network"]
    networks = dict.fromkeys(row["network"] for row in rows)
    used = {row["method"] for row in rows}
    methods = [method for method in METHODS if method in used]
    for title, (value, show) in STRUCTURE.items():
        found = means(rows, ("network", "density", "method"), value)
        lines = []
        for network in networks:
            for density in dict.fromkeys(key[1] for key in found if key[0] == network):
                cells = (found.get((network, density, method)) for method in methods)
                at = "one walk" if density == ONE_WALK else f"{density:.0%}"
                shown = ("" if cell is None else show(cell) for cell in cells)
                lines.append((network, at, *shown))
        parts += [f"### {title}", table(("network", "density", *methods), lines)]
    return parts


def _costs(rows: Iterable[Row]) -> list[str]:
    seconds = {(row["network"], row["method"]): row["seconds"] for row in rows}
    lines = [
        (
            row["network"],
            row["method"],
            significant(row["seconds"]),
            significant(row["seconds"] / seconds[row["network"], "PHEW"]),
            "" if row["peak_memory"] is None else mebibytes(row["peak_memory"]),
        )
        for row in rows
    ]
    header = ("network", "method", "seconds", "times PHEW's", "peak MiB")
    return ["## Cost", table(header, lines)]


def _speeds(rows: Iterable[Row]) -> list[str]:
    """Make a table of the time that networks of several forms train to an accuracy."""
    by_case: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        key = row["data"], row["width"], row["accuracy"], row["form"], row["density"]
        by_case[key].append(row)
    lines = []
    for (data, width, accuracy, form, density), group in by_case.items():
        num_failed = sum(row["epochs"] is None for row in group)
        shown = [f"{num_failed} of {len(group)} failed", "", ""]
        if num_failed == 0:
            shown = [_range([row[value] for row in group]) for value in TIMES]
        lines.append((data, f"3 x {width}", form, f"{density:.0%}", f"{accuracy:.0%}", *shown))
    header = ("data", "network", "form", "weights", "accuracy", *TIMES.values())
    return [
        "## Time to an accuracy",
        "Until a network has the accuracy on the test set after an epoch; means of seeds, and the "
        "least and the most.",
        table(header, lines, num_words=3),
    ]


def _range(values: Sequence[float]) -> str:
    low, mean, high = (significant(of(values)) for of in (min, statistics.fmean, max))
    return f"{mean} ({low} to {high})"


SECTIONS: tuple[tuple[str, Callable[[Sequence[Row]], list[str]]], ...] = (
    ("training", _accuracies),
    ("training", _factors),
    ("training", _ablations),
    ("structure", _structures),
    ("cost", _costs),
    ("speed", _speeds),
)
"""The kind of rows of each section, and the function that makes its parts of them."""
