"""The report of a walk graph: its links and forks, and what is not pruned, known or reached."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from phew.graph.links import Link
from phew.graph.reach import leading_units, unreached_weights
from phew.graph.walk_graph import WalkGraph
from phew.support.html import html_table, html_text
from phew.support.tables import WIDTH, Row, folded, table, wrapped

_MOST_ROWS = 12
"""Rows for the parameters of one reason; where there are more, only their last names are shown."""

_MANY_LINKS = 100
"""With more links of one parameter, the report says how to have fewer."""

_ANY_WIDTH = 100_000

_MOST_NAMES = 6
"""Names in a row; further ones are counted."""


class Report:
    """The report of a walk graph: `str` is the text, `as_dict` the same as what JSON can hold.

    Args:
        graph: The walk graph; its weights are not read.

    Example:
        >>> import torch, phew
        >>> from phew.graph.report import Report
        >>> graph = phew.capture(torch.nn.Linear(8, 4), torch.zeros(1, 8))
        >>> Report(graph).as_dict()["not_prunable"]
        {'bias': 'vector (bias, normalisation, ...)'}
    """

    def __init__(self, graph: WalkGraph) -> None:
        self._graph = graph
        self._names = _distinct([space.name for space in graph.spaces])
        self._weighted = list(graph.weighted.values())

    def as_dict(self) -> dict[str, Any]:
        """Return every link, space and parameter by itself, as what JSON can hold."""
        graph = self._graph
        prunable = set(graph.prunable)
        return {
            "num_spaces": len(graph.spaces),
            "num_weighted_links": len(self._weighted),
            "num_wiring_links": len(graph.links) - len(self._weighted),
            "num_prunable_weights": graph.num_prunable_weights,
            "entries": [self._space(space) for space in graph.entries],
            "exits": [self._space(space) for space in graph.exits],
            "links": [
                {
                    "parameter": link.parameter,
                    "prunable": link.parameter in prunable,
                    "shape": list(link.shape),
                    **self._ends(link),
                }
                for link in self._weighted
            ],
            "forks": [
                {**self._space(space), "to": [self._names[link.target] for link in links]}
                for space, links in self._forks.items()
            ],
            "shortcuts": [self._ends(link) for link in graph.links if link.shortcut],
            "shared": self._shared,
            "derived": dict(graph.notes.derived),
            "approximations": [asdict(operation) for operation in graph.notes.approximations],
            "unreached": self._unreached,
            "not_prunable": dict(graph.notes.not_prunable),
        }

    def __str__(self) -> str:
        """The text: totals, then a section for each thing that there is."""
        return self.text()

    def __repr__(self) -> str:
        """The counts of the graph, in one line."""
        return f"Report({self._graph!r})"

    def _repr_html_(self) -> str:
        # A page has no lines that names would have to be shortened for.
        return "".join(section.html() for section in self._sections(_ANY_WIDTH))

    def text(self, width: int | None = None) -> str:
        """Return the text, whose lines have at most so many columns where they can."""
        sections = self._sections(width)
        return "\n\n".join("\n".join(section.text(width)) for section in sections)

    def _sections(self, width: int | None) -> list[_Section]:
        """Return what there is to say, for lines of so many columns."""
        graph = self._graph
        sections = [
            _Section(self._totals()),
            self._links_section(width),
            self._forks_section(),
            self._shared_section(),
            _section(
                "Parameters that weights are computed from", map(Row, graph.notes.derived.items())
            ),
            _section(
                "Operations that are approximated by a complete wiring",
                [
                    Row((a.module or "the model", a.operation, a.reason))
                    for a in graph.notes.approximations
                ],
            ),
            _section(
                "Prunable parameters with weights that no walk reaches",
                [
                    Row((name,), (f"{count:,} of {graph.parameters[name].numel():,} weights",))
                    for name, count in self._unreached.items()
                ],
            ),
            self._not_prunable_section(),
        ]
        return [section for section in sections if section.lines]

    @cached_property
    def _forks(self) -> dict[int, list[Link]]:
        """The links onward, by space, of the spaces where a unit has several to choose from."""
        graph = self._graph
        leading = leading_units(graph)
        forks = {}
        for space, indices in enumerate(graph.forward.onward):
            if len(indices) > 1:
                flags = np.stack([leading[index] for index in indices])
                forked = flags[:, flags.sum(axis=0) > 1].any(axis=1)
                if forked.any():
                    forks[space] = [graph.links[index] for index in np.array(indices)[forked]]
        return forks

    @cached_property
    def _shared(self) -> dict[str, int]:
        """The number of links of each parameter that has weights in several links."""
        graph = self._graph
        return {
            name: len(indices)
            for name, indices in graph.links_of.items()
            if sum(graph.weighted[index].num_edges for index in indices)
            > graph.parameters[name].numel()
        }

    @cached_property
    def _unreached(self) -> dict[str, int]:
        return unreached_weights(self._graph)

    def _space(self, space: int) -> dict[str, Any]:
        return {"space": self._names[space], "num_units": self._graph.spaces[space].num_units}

    def _ends(self, link: Link) -> dict[str, str]:
        return {"from": self._names[link.source], "to": self._names[link.target]}

    def _totals(self) -> list[str]:
        graph = self._graph
        num_parameters = len(graph.prunable) + len(graph.notes.not_prunable)
        lines = [
            f"{graph.num_prunable_weights:,} prunable weights in {len(graph.prunable):,} of "
            f"{num_parameters:,} parameters",
            f"{len(graph.spaces):,} spaces, {len(self._weighted):,} weighted and "
            f"{len(graph.links) - len(self._weighted):,} wiring links",
        ]
        for kind, spaces in (("entries", graph.entries), ("exits", graph.exits)):
            rows = [
                Row((self._names[space],), (_count(graph.spaces[space].num_units, "unit"),))
                for space in spaces
            ]
            shown = [f"{row.names[0]} ({row.facts[0]})" for row in folded(rows)]
            lines.append(f"{kind}: {_shortened(shown)}")
        return lines

    def _links_section(self, width: int | None) -> _Section:
        """Tabulate the weighted links, with short names of spaces if lines would be too long."""
        rows = self._links_table(lambda _, name: name)
        if max(map(len, table(rows))) > (width or WIDTH):
            rows = self._links_table(_relative)
        title = "Weighted links (shape: groups x targets x sources x kernel positions)"
        return _Section([title], rows, has_header=True)

    def _links_table(self, shorten: Callable[[str, str], str]) -> list[tuple[str, ...]]:
        """Tabulate the weighted links, the names of spaces shortened beside the parameter's."""
        prunable = set(self._graph.prunable)
        rows = []
        for link in self._weighted:
            source, target = (shorten(link.parameter, name) for name in self._ends(link).values())
            mark = "" if link.parameter in prunable else "not pruned"
            shape = " x ".join(map(str, link.shape))
            # Nearly all links lead to the space of their parameter's module: it is not shown.
            module = link.parameter.rpartition(".")[0] or link.parameter
            if self._graph.spaces[link.target].name == module:
                target = ""
            rows.append(Row((link.parameter, source, target), (shape, mark)))
        cells = [
            (row.names[0], row.times, row.facts[0], *row.names[1:], row.facts[1])
            for row in folded(rows)
        ]
        to = "to (else: to its module)" if any(cell[4] for cell in cells) else ""
        return [("parameter", "", "shape", "from", to, ""), *cells]

    def _forks_section(self) -> _Section:
        """Tabulate the forks: their units, and the spaces that their links lead to."""
        rows = []
        for space, links in self._forks.items():
            marks = tuple("~" if link.shortcut else "" for link in links)
            names = (self._names[space], *[self._names[link.target] for link in links])
            rows.append(Row(names, (f"{self._graph.spaces[space].num_units:,}", *marks)))
        cells = []
        for row in folded(rows):
            name, *onward = row.names
            num_units, *labels = row.facts
            targets = [Row((to,), (label,)) for to, label in zip(onward, labels, strict=True)]
            if row.count == 1:
                targets = folded(targets)
            shown = list(dict.fromkeys(to.facts[0] + to.names[0] for to in targets))
            cells.append((name, row.times, num_units, _shortened(shown)))
        title = (
            f"Forks: {len(rows):,} spaces with units that several links lead on from "
            "(~ a shortcut, walked where there is no other)"
        )
        header = ("space", "", "units", "to")
        return _Section([title] if cells else [], [header, *cells], has_header=True)

    def _shared_section(self) -> _Section:
        rows = [Row((name,), (f"{count} links",)) for name, count in self._shared.items()]
        section = _section("Parameters in several links", rows)
        if max(self._shared.values(), default=0) > _MANY_LINKS:
            remark = (
                "Each time step is a link of its own: shorter example inputs are captured and "
                "walked in less time."
            )
            return section._replace(remark=remark)
        return section

    def _not_prunable_section(self) -> _Section:
        reasons: dict[str, list[Row]] = {}
        for name, reason in self._graph.notes.not_prunable.items():
            reasons.setdefault(reason, []).append(Row((name, reason)))
        rows: list[Row] = []
        for alike in reasons.values():
            rows += _by_last_name(alike) if len(folded(alike)) > _MOST_ROWS else alike
        return _section("Parameters that are not prunable", rows)


class _Section(NamedTuple):
    """A part of the text: lines, a table below them, and a remark below that."""

    lines: list[str]
    rows: Sequence[tuple[str, ...]] = ()
    remark: str = ""
    has_header: bool = False

    def text(self, width: int | None) -> list[str]:
        """Return the lines, of at most so many columns where they can."""
        above, below = self.lines, [self.remark] if self.remark else []
        if width is not None:
            above, below = (
                [part for line in lines for part in wrapped(line, width)]
                for lines in (above, below)
            )
        return [*above, *table(self.rows, width), *below]

    def html(self) -> str:
        """Return the section as a table with a caption, or as text where it has none."""
        if not self.rows:
            return html_text("\n".join(self.lines))
        columns = [column for column in zip(*self.rows, strict=True) if any(column)]
        rows = [*zip(*columns, strict=True)]
        header, rows = (rows[0], rows[1:]) if self.has_header else ((), rows)
        caption = " ".join(self.lines)
        shown = html_table(header, rows, caption=caption, has_numbers=False)
        return shown + (html_text(self.remark) if self.remark else "")


def _section(title: str, rows: Iterable[Row]) -> _Section:
    rows = list(rows)
    cells = [(row.names[0], row.times, *row.names[1:], *row.facts) for row in folded(rows)]
    return _Section([f"{title}: {len(rows):,}"] if rows else [], cells)


def _by_last_name(rows: Sequence[Row]) -> list[Row]:
    """Shorten names to "*" and their last part, e.g. "*.bias", where several rows share that."""
    last_names = [row.names[0].rpartition(".")[2] for row in rows]
    counts = Counter(last_names)
    return [
        Row((f"*.{last}", *row.names[1:])) if counts[last] > 1 else row
        for last, row in zip(last_names, rows, strict=True)
    ]


def _distinct(names: Sequence[str]) -> list[str]:
    """Number the names that occur several times."""
    total, seen = Counter(names), Counter[str]()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(f"{name}#{seen[name]}" if total[name] > 1 else name)
    return distinct


def _relative(parameter: str, name: str) -> str:
    """Shorten a name by the leading parts that it shares with a parameter's: "...conv1"."""
    # A name may have words before the module's path: "input of conv1".
    before, space, path = name.rpartition(" ")
    *parents, last = path.split(".")
    pairs = zip(parameter.split("."), parents, strict=False)
    num_shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    dots = "..." if num_shared else ""
    return before + space + dots + ".".join([*parents[num_shared:], last])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
