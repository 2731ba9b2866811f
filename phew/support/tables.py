"""Rows of reports in aligned columns, and rows of repeated blocks folded into one.

The rows of `blocks.0.fc.weight` to `blocks.11.fc.weight` become one, `blocks.{0-11}.fc.weight`,
if they are equal but for the numbers in their names.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

_NUMBER = re.compile(r"\d+")

WIDTH = 120
"""The columns of a line, where nothing else says how many there are; names may make it longer."""

_LEAST_WIDTH = 40
_LEAST_NAME = 20
"""Columns are left out where names would have less room."""


@dataclass(frozen=True)
class Row:
    """A row, or several that are folded into one.

    Attributes:
        names: Names, whose numbers may differ between the rows that are folded.
        facts: Texts that must be equal for rows to be folded.
        members: The places among all rows of those that are folded into this one.
    """

    names: tuple[str, ...]
    facts: tuple[str, ...] = ()
    members: tuple[int, ...] = (0,)

    @property
    def count(self) -> int:
        """How many rows are folded into this one."""
        return len(self.members)

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
        alike.setdefault(key, {})[index] = replace(row, members=(index,))
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
        return {first: Row(tuple(map(_summary, columns)), rows[first].facts, tuple(rows))}
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


def table(rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Align cells in columns and wrap the last; a column that is empty in all rows is left out.

    Names are shortened where a width is given and the last column would have too little room.
    """
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    if not columns:
        return []
    widths = _widths(zip(*columns[:-1], strict=True)) if columns[1:] else []
    least = min(max(map(len, columns[-1])), _LEAST_WIDTH)
    if width is not None and widths:
        while sum(widths) + 2 * len(columns) > width - least and max(widths) > _LEAST_NAME:
            widths[widths.index(max(widths))] -= 1
    margin = sum(widths) + 2 * len(columns)
    room_for_last = max((width or WIDTH) - margin, _LEAST_WIDTH)
    lines = []
    for *cells, last in zip(*columns, strict=True):
        start = "".join(
            f"  {shortened(cell, room):{room}}" for cell, room in zip(cells, widths, strict=True)
        )
        parts = wrapped(last, room_for_last, indent="") or [""]
        lines.append(f"{start}  {parts[0]}".rstrip())
        lines += [" " * margin + part for part in parts[1:]]
    return lines


def wrapped(text: str, width: int, *, indent: str = "  ") -> list[str]:
    """Break a text into lines, those after the first indented; words stay whole."""
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def numbers_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    *,
    width: int | None = None,
) -> list[str]:
    """Align a column of words and columns of numbers, with rules below the header and the rows.

    Args:
        header: The cells above the columns.
        rows: Their cells.
        total: Those of the last row, if there is one.
        width: The columns that a line may have. Where they are too few, the header gets two lines,
            words are shortened in the middle, and last columns are left out, which a line names.
    """
    left_out: list[str] = []
    headers, cells = [header], [*rows, *([] if total is None else [total])]
    if width is not None and _width([header, *cells]) > width:
        headers = [[cell.rpartition(" ")[part] for cell in header] for part in (0, 2)]
        # A number needs its column whole, so words give way to the last column that fits.
        least = min(_LEAST_NAME, _widths([*headers, *cells])[0])
        while len(headers[0]) > 2 and _room(headers, cells, width) < least:
            left_out.insert(0, header[len(headers[0]) - 1])
            headers, cells = ([row[:-1] for row in part] for part in (headers, cells))
        room = max(_room(headers, cells, width), least)
        cells = [[shortened(words, room), *numbers] for words, *numbers in cells]
    headers = [row for row in headers if any(row)]
    widths = _widths([*headers, *cells])
    lines = [
        "  ".join(
            [words.ljust(widths[0])]
            + [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        ).rstrip()
        for words, *numbers in (*headers, *cells)
    ]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    lines.insert(len(headers), rule)
    if total is not None:
        lines.insert(-1, rule)
    if left_out:
        lines += wrapped(f"left out for lack of room: {', '.join(left_out)}", width or WIDTH)
    return lines


def shortened(words: str, width: int) -> str:
    """Leave out the middle of words that are too long: "stages.0...conv1.weight"."""
    if len(words) <= width:
        return words
    num_last = (width - 3 + 1) // 2
    return f"{words[: width - 3 - num_last]}...{words[len(words) - num_last :]}"


def _widths(rows: Iterable[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _width(rows: Sequence[Sequence[str]]) -> int:
    widths = _widths(rows)
    return sum(widths) + 2 * (len(widths) - 1)


def _room(headers: Sequence[Sequence[str]], cells: Sequence[Sequence[str]], width: int) -> int:
    """Return the columns of a line that numbers leave for the words."""
    return width - sum(2 + number for number in _widths([*headers, *cells])[1:])
