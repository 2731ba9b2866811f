"""The base of results that are tables: as text, in a terminal, and in notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from phew.support.html import html_table, html_text
from phew.support.tables import WIDTH, numbers_table, wrapped


class Cells(NamedTuple):
    """The cells of a table, whose first column is words and whose others are numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: Sequence[str] | None = None


class TableOfResults:
    """A result that `print` shows as a table, and notebooks as one in HTML."""

    def table(self, width: int | None = None) -> str:
        """Return the table.

        Args:
            width: The columns that a line may have, as in a terminal. Where they are too few, names
                are shortened, last columns are left out, and remarks are broken into lines.
        """
        remarks = [line for text in self._remarks() for line in wrapped(text, width or WIDTH)]
        return "\n".join([*numbers_table(*self._cells(width), width=width), *remarks])

    def __str__(self) -> str:
        """The table, as `print` shows it."""
        return self.table()

    def _repr_html_(self) -> str:
        remarks = self._remarks()
        return html_table(*self._cells(None)) + (html_text("\n".join(remarks)) if remarks else "")

    def _cells(self, width: int | None) -> Cells:
        """Return the cells; where a width is given, rows that differ in numbers may be folded."""
        raise NotImplementedError

    def _remarks(self) -> list[str]:
        """Return the lines below the table."""
        return []
