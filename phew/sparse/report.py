"""The costs of a sparse network: weights, bytes and operations, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from phew.support.results import Cells, TableOfResults
from phew.support.tables import Row, folded


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The costs of one masked weight, of all weights without a mask, or of all together.

    Attributes:
        name: Name of the parameter.
        reason: Why its layer stays dense; None where it is sparse.
        num_kept: Kept weights.
        num_weights: Weights.
        num_bytes: Bytes of parameters and of what says where the kept ones are.
        num_dense_bytes: Bytes of the dense parameters.
        num_operations: Multiplications, each with an addition, of kept weights in the run of the
            example; those of pruned weights too where the layer is dense. None if not known.
        num_dense_operations: The same of all weights.
    """

    name: str
    reason: str | None
    num_kept: int
    num_weights: int
    num_bytes: int
    num_dense_bytes: int
    num_operations: int | None
    num_dense_operations: int | None

    @property
    def density(self) -> float:
        """Kept weights / weights; 1 where there are none."""
        return self.num_kept / self.num_weights if self.num_weights else 1.0

    def as_dict(self) -> dict[str, Any]:
        """The numbers as what JSON can hold."""
        return dataclasses.asdict(self) | {"density": self.density}

    def facts(self) -> tuple[str, ...]:
        """The cells of the table, but for the name."""
        return (
            f"{self.num_kept:,}",
            f"{self.num_weights:,}",
            _percent(self.num_kept, self.num_weights),
            f"{self.num_bytes:,}",
            _percent(self.num_bytes, self.num_dense_bytes),
            "-" if self.num_operations is None else f"{self.num_operations:,}",
            _percent(self.num_operations, self.num_dense_operations),
        )


@dataclasses.dataclass(frozen=True)
class SparseReport(TableOfResults):
    """The layers that `phew.to_sparse` changed or left, and what they cost; `print` shows a table.

    Attributes:
        layers: The costs of each masked weight.
        others: Those of all parameters and buffers without a mask.
        note: Why operations are not known; None if they are.
    """

    layers: tuple[LayerCost, ...]
    others: LayerCost
    note: str | None = None

    @property
    def total(self) -> LayerCost:
        """The costs of the network."""
        rows = (*self.layers, self.others)

        def known(values: list[int | None]) -> int | None:
            numbers = [value for value in values if value is not None]
            return sum(numbers) if numbers else None

        return LayerCost(
            "total",
            None,
            sum(row.num_kept for row in rows),
            sum(row.num_weights for row in rows),
            sum(row.num_bytes for row in rows),
            sum(row.num_dense_bytes for row in rows),
            known([row.num_operations for row in rows]),
            known([row.num_dense_operations for row in rows]),
        )

    @property
    def left_dense(self) -> dict[str, str]:
        """Name of a masked weight whose layer stays dense to the reason."""
        return {row.name: row.reason for row in self.layers if row.reason is not None}

    def as_dict(self) -> dict[str, Any]:
        """The numbers as what JSON can hold."""
        return {
            "layers": [row.as_dict() for row in self.layers],
            "others": self.others.as_dict(),
            "total": self.total.as_dict(),
            "note": self.note,
        }

    def __repr__(self) -> str:
        """The totals, in one line."""
        total = self.total
        return (
            f"SparseReport({len(self.layers)} masked weights, {total.num_kept:,} of "
            f"{total.num_weights:,} weights, {total.num_bytes:,} of {total.num_dense_bytes:,} "
            "bytes)"
        )

    def _cells(self, width: int | None) -> Cells:
        header = (
            *("parameter", "kept", "weights", "density"),
            *("bytes", "of dense", "operations", "of dense"),
        )
        rows: list[Sequence[str]] = [
            (" ".join(filter(None, (row.names[0], row.times))), *row.facts)
            for row in folded(Row((row.name,), row.facts()) for row in self.layers)
        ]
        rows.append(("without masks", *self.others.facts()))
        return Cells(header, rows, ("total", *self.total.facts()))

    def _remarks(self) -> list[str]:
        """Say which layers stay dense, which are no smaller, and why something is not known."""
        remarks = [(name, f"dense, because {reason}") for name, reason in self.left_dense.items()]
        remarks += [(name, "no smaller than dense") for name in self.no_smaller]
        names: dict[str, list[str]] = {}
        for row in folded(Row((name,), (remark,)) for name, remark in remarks):
            names.setdefault(row.facts[0], []).append(row.names[0])
        texts = [f"{remark}: {', '.join(own)}" for remark, own in names.items()]
        note = [] if self.note is None else [f"operations are not known: {self.note}"]
        return [*texts, *note]

    @property
    def no_smaller(self) -> list[str]:
        """Names of the weights of sparse layers that take as many bytes as dense ones, or more."""
        return [
            row.name
            for row in self.layers
            if row.reason is None and row.num_bytes >= row.num_dense_bytes
        ]


def _percent(part: int | None, whole: int | None) -> str:
    if part is None or whole is None:
        return ""
    return f"{part / whole:.1%}" if whole else ""
