"""The summary of masks: counts per parameter, and the table that shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from phew.masks.packed import PackedMasks
from phew.masks.unpacked import UnpackedMasks
from phew.support.results import Cells, TableOfResults
from phew.support.tables import Row, folded


@dataclasses.dataclass(frozen=True)
class SummaryRow:
    """The counts of one parameter, or of all; units are None where they are not known."""

    parameter: str
    shape: tuple[int, ...]
    num_kept: int
    num_weights: int
    num_active_units: int | None
    num_units: int | None

    @property
    def density(self) -> float:
        """Kept / prunable weights; 1 where there are none."""
        return self.num_kept / self.num_weights if self.num_weights else 1.0

    def as_dict(self) -> dict[str, Any]:
        """The numbers as what JSON can hold."""
        return {**dataclasses.asdict(self), "shape": list(self.shape), "density": self.density}

    def cells(self) -> tuple[str, ...]:
        """The row as the table shows it."""
        units = "" if self.num_units is None else f"{self.num_active_units:,} / {self.num_units:,}"
        return (
            self.parameter,
            " x ".join(map(str, self.shape)),
            f"{self.num_kept:,}",
            f"{self.num_weights:,}",
            f"{self.density:.2%}",
            units,
        )


@dataclasses.dataclass(frozen=True)
class Summary(TableOfResults):
    """The counts of masks, per parameter and in all. `print` shows them as a table.

    In a terminal, parameters of one shape whose names differ in numbers alone are one line: its
    counts are their sums.
    """

    rows: tuple[SummaryRow, ...]

    @property
    def total(self) -> SummaryRow:
        """The sum of the rows."""
        return _sum("total", (), self.rows)

    def as_dict(self) -> dict[str, Any]:
        """The numbers as what JSON can hold: `rows`, a list, and `total`."""
        return {"rows": [row.as_dict() for row in self.rows], "total": self.total.as_dict()}

    def __repr__(self) -> str:
        """The counts of all, in one line."""
        total = self.total
        return (
            f"Summary({len(self.rows)} parameters, {total.num_kept:,} of {total.num_weights:,} "
            f"weights kept ({total.density:.2%}))"
        )

    def _cells(self, width: int | None) -> Cells:
        rows = self.rows if width is None else self._folded()
        header = ("parameter", "shape", "kept", "weights", "density", "active units")
        table = [header, *(row.cells() for row in rows), self.total.cells()]
        num_columns = len(header) - (self.total.num_units is None)
        first, *others, last = (cells[:num_columns] for cells in table)
        return Cells(first, others, last)

    def _folded(self) -> list[SummaryRow]:
        rows = folded(Row((row.parameter,), tuple(map(str, row.shape))) for row in self.rows)
        return [
            _sum(
                " ".join(filter(None, (row.names[0], row.times))),
                self.rows[row.members[0]].shape,
                [self.rows[member] for member in row.members],
            )
            for row in rows
        ]


def summary_of(
    masks: PackedMasks | UnpackedMasks, active_units: Mapping[str, tuple[int, int]]
) -> Summary:
    """Count what masks keep.

    Args:
        masks: The masks.
        active_units: Name of a parameter to (units with a kept incoming weight, units).
    """
    return Summary(
        tuple(
            SummaryRow(
                name,
                tuple(shape),
                masks.num_kept(name),
                shape.numel(),
                *active_units.get(name, (None, None)),
            )
            for name, shape in masks.shapes.items()
        )
    )


def _sum(name: str, shape: tuple[int, ...], rows: Sequence[SummaryRow]) -> SummaryRow:
    units = [row for row in rows if row.num_units is not None]
    return SummaryRow(
        name,
        shape,
        sum(row.num_kept for row in rows),
        sum(row.num_weights for row in rows),
        sum(row.num_active_units or 0 for row in units) if units else None,
        sum(row.num_units or 0 for row in units) if units else None,
    )
