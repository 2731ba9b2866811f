"""Rows of reports in aligned columns, and rows of repeated blocks folded into one.

The rows of `blocks.0.fc.weight` to `blocks.11.fc.weight` become one, `blocks.{0-11}.fc.weight`,
if they are equal but for the numbers in their names.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_NUMBER = re.compile(r"\d+")

WIDTH = 120
"""The columns of a line; names are not broken, so that a line may be longer."""

_LEAST_WIDTH = 40


@dataclass(frozen=True)
class Row:
    """A row, or several that are folded into one.

    Attributes:
        names: Names, whose numbers may differ between the rows that are folded.
        facts: Texts that must be equal for rows to be folded.
        count: How many rows are folded into this one.
    """

    names: tuple[str, ...]
    facts: tuple[str, ...] = ()
    count: int = 1

    @property
    def times(self) -> str:
        """The count as the table shows it: "x12", and nothing for a single row."""
        return f"x{self.count}" if self.count > 1 else ""


def folded(rows: Iterable[Row]) -> list[Row]:
    """Fold rows that differ in the numbers of their names alone, in the order of the first of each.

    A folded first name stands for exactly the rows: one for each choice of its numbers.
    """
    alike: dict[object, dict[int, Row]] = {}
    for index, row in enumerate(rows):
        key = tuple(_NUMBER.sub("#", name) for name in row.names), row.facts
        alike.setdefault(key, {})[index] = row
    by_first = {first: row for group in alike.values() for first, row in _fold(group).items()}
    return [by_first[first] for first in sorted(by_first)]


def _fold(rows: dict[int, Row]) -> dict[int, Row]:
    """Fold rows of equal patterns, divided by their first varying number until folds are exact.

    Args:
        rows: The rows by their place among all.

    Returns:
        The folded rows by the place of their first.
    """
    numbers = {index: tuple(_NUMBER.findall(row.names[0])) for index, row in rows.items()}
    choices = [len(set(column)) for column in zip(*numbers.values(), strict=True)]
    if math.prod(choices) == len(set(numbers.values())):
        first, *_ = rows
        columns = zip(*(row.names for row in rows.values()), strict=True)
        count = sum(row.count for row in rows.values())
        return {first: Row(tuple(map(_summary, columns)), rows[first].facts, count)}
    varying = next(index for index, number in enumerate(choices) if number > 1)
    parts: dict[str, dict[int, Row]] = {}
    for index, row in rows.items():
        parts.setdefault(numbers[index][varying], {})[index] = row
    return {first: row for part in parts.values() for first, row in _fold(part).items()}


def _summary(names: Sequence[str]) -> str:
    """Write names that differ in their numbers as one: `a.{0-2}.b`."""
    columns = zip(*(_NUMBER.findall(name) for name in names), strict=True)
    ranges = iter([_ranges(sorted(set(column), key=int)) for column in columns])
    return _NUMBER.sub(lambda _: next(ranges), names[0])


def _ranges(numbers: Sequence[str]) -> str:
    """Write ascending numbers: 3, {0-2,5} or {1,3,..,11}."""
    if len(numbers) == 1:
        return numbers[0]
    # The numbers are divided into runs of equal steps.
    runs: list[list[str]] = []
    for number in numbers:
        steps = {int(b) - int(a) for a, b in pairwise([*runs[-1], number])} if runs else set()
        if len(steps) == 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "{" + ",".join(map(_run, runs)) + "}"


def _run(numbers: Sequence[str]) -> str:
    """Write numbers of equal steps: 0-2, 1,3,..,11 or 1,3."""
    if len(numbers) > 1 and int(numbers[1]) - int(numbers[0]) == 1:
        return f"{numbers[0]}-{numbers[-1]}"
    if len(numbers) > 3:
        return f"{numbers[0]},{numbers[1]},..,{numbers[-1]}"
    return ",".join(numbers)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align cells in columns and wrap the last; a column that is empty in all rows is left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    widths = [max(map(len, column)) for column in columns[:-1]]
    margin = sum(widths) + 2 * len(columns)
    lines = []
    for *cells, last in zip(*columns, strict=True):
        start = "".join(f"  {cell:{width}}" for cell, width in zip(cells, widths, strict=True))
        # Names stay whole, however little room there is.
        parts = textwrap.wrap(
            last,
            max(WIDTH - margin, _LEAST_WIDTH),
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines.append(f"{start}  {parts[0] if parts else ''}".rstrip())
        lines += [" " * margin + part for part in parts[1:]]
    return lines


def numbers_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None
) -> list[str]:
    """Align a column of words and columns of numbers, with rules below the header and the rows."""
    cells = [header, *rows, *([] if total is None else [total])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            [words.ljust(widths[0])]
            + [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        ).rstrip()
        for words, *numbers in cells
    ]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    lines.insert(1, rule)
    if total is not None:
        lines.insert(-1, rule)
    return lines
