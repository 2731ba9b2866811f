"""Tables and texts as notebooks and pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def html_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: Sequence[str] | None = None,
    *,
    caption: str = "",
    has_numbers: bool = True,
) -> str:
    """Return a table whose first column names its rows.

    Args:
        header: The names of the columns; empty if they have none.
        rows: The cells.
        total: Those of the last row, if there is one.
        caption: The words above the table.
        has_numbers: Whether the other columns are numbers, which are aligned at the right.
    """
    side = "right" if has_numbers else "left"
    title = f'<caption style="text-align: left">{escape(caption)}</caption>' if caption else ""
    head = f"<thead>{_row(header, 'col', 'th', side)}</thead>" if header else ""
    body = "".join(_row(row, "row", "td", side) for row in rows)
    foot = "" if total is None else f"<tfoot>{_row(total, 'row', 'th', side)}</tfoot>"
    return f"<table>{title}{head}<tbody>{body}</tbody>{foot}</table>"


def html_text(text: str) -> str:
    """Return a text with its lines and spaces as they are."""
    return f"<pre>{escape(text)}</pre>"


def _row(cells: Sequence[str], scope: str, tag: str, side: str) -> str:
    """Return a row of cells, of which the first is always a header."""
    first, *others = cells
    weight = "; font-weight: normal" if tag == "td" else ""
    shown = [f'<th scope="{scope}" style="text-align: left{weight}">{escape(first)}</th>']
    attributes = f' scope="{scope}"' if scope == "col" else ""
    shown += [
        f'<{tag}{attributes} style="text-align: {side}">{escape(cell)}</{tag}>' for cell in others
    ]
    return f"<tr>{''.join(shown)}</tr>"
