"""Tables and texts as notebooks show them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None
) -> str:
    """Return a table whose first column is words and whose others are numbers."""
    body = "".join(_row(row, "td") for row in rows)
    foot = "" if total is None else f"<tfoot>{_row(total, 'th')}</tfoot>"
    return f"<table><thead>{_row(header, 'th')}</thead><tbody>{body}</tbody>{foot}</table>"


def html_text(text: str) -> str:
    """Return a text with its lines and spaces as they are."""
    return f"<pre>{escape(text)}</pre>"


def _row(cells: Sequence[str], tag: str) -> str:
    aligned = ["left", *["right"] * (len(cells) - 1)]
    return "<tr>{}</tr>".format(
        "".join(
            f'<{tag} style="text-align: {side}">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, aligned, strict=True)
        )
    )
