"""The tables and figures of docs/science.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from support.machine import environment
from support.markdown import mebibytes, significant, table
from support.plots import DOCS, save

from phew import plot
from science.claims import Claim, Row, means
from science.intervals import interval
from science.jobs import DENSE, ONE_WALK
from science.pruning import METHODS

DOCUMENT = DOCS / "science.md"
BEGIN, END = "<!-- begin of what --write-results writes -->", "<!-- end -->"

STRUCTURE: dict[str, tuple[str, Callable[[float], str]]] = {
    "Active units": ("width", lambda value: f"{value:.1%}"),
    "Weights on a path": ("effective_density", lambda value: f"{value:.1%}"),
    "Path kernel trace": ("trace", lambda value: f"{value:.2g}"),
    "FLOPs kept": ("kept_flops", lambda value: f"{value:.1%}"),
}
"""The key of a value in rows and the function that formats it, by the title of their table."""


def write(rows: Sequence[Row], claims: Sequence[Claim]) -> None:
    """Write the tables into docs/science.md, in place of earlier ones, and draw the figures."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    kinds: dict[str, list[Row]] = defaultdict(list)
    # Rows stand in the order in which their jobs ended.
    for row in sorted(rows, key=lambda row: -row.get("density", 0)):
        kinds[row["kind"]].append(row)
    setting = ", ".join(f"{key} {value}" for key, value in environment().items())
    parts = [
        f"Written by `python -m benchmarks.science --write-results`: {setting}.",
        *_verdicts(claims),
        *_accuracies(kinds["training"]),
        *_structures(kinds["structure"]),
        *_costs(kinds["cost"]),
    ]
    DOCUMENT.write_text("\n\n".join([f"{before}{BEGIN}", *parts, f"{END}{after}"]))


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


def _structures(rows: Sequence[Row]) -> list[str]:
    """Make tables of what is left of networks, with one column per method."""
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
