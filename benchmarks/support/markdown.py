"""Benchmark results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "RESULTS.md"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, num_words: int = 2) -> str:
    """Make a table whose first columns are words and whose others are numbers."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = [
        "-" * width if i < num_words else "-" * (width - 1) + ":" for i, width in enumerate(widths)
    ]
    lines = [
        [
            cell.ljust(width) if i < num_words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        for cells in (header, rule, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def significant(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{float(f'{value:.3g}'):,g}"


def millions(value: float) -> str:
    """Format a number as millions with three significant digits."""
    return significant(value / 1e6)


def mebibytes(num_bytes: float) -> str:
    return f"{num_bytes / 2**20:,.0f}"


def write_section(title: str, body: str) -> None:
    """Put a section into the results, in place of an earlier one of the same title."""
    head, *sections = RESULTS.read_text().rstrip("\n").split("\n\n## ")
    others = [section for section in sections if not section.startswith(f"{title}\n")]
    RESULTS.write_text("\n\n## ".join([head, *others, f"{title}\n\n{body}"]) + "\n")
