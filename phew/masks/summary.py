"""The summary of masks: counts per parameter, and the table that shows them."""

from __future__ import annotations

import dataclasses
from typing import Any

from phew.support.tables import numbers_table


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
class Summary:
    """The counts of masks, per parameter and in all. `print` shows them as a table."""

    rows: tuple[SummaryRow, ...]

    @property
    def total(self) -> SummaryRow:
        """The sum of the rows."""
        units = [row for row in self.rows if row.num_units is not None]
        return SummaryRow(
            "total",
            (),
            sum(row.num_kept for row in self.rows),
            sum(row.num_weights for row in self.rows),
            sum(row.num_active_units or 0 for row in units) if units else None,
            sum(row.num_units or 0 for row in units) if units else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """The numbers as what JSON can hold: `rows`, a list, and `total`."""
        return {"rows": [row.as_dict() for row in self.rows], "total": self.total.as_dict()}

    def __str__(self) -> str:
        """The table: a header, a line per parameter, the total."""
        header = ("parameter", "shape", "kept", "weights", "density", "active units")
        table = [header, *(row.cells() for row in self.rows), self.total.cells()]
        if self.total.num_units is None:
            table = [cells[:-1] for cells in table]
        return "\n".join(numbers_table(table[0], table[1:-1], table[-1]))
