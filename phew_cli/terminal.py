"""Commands print lines that are as wide as the terminal."""

from __future__ import annotations

import sys

import typer


def terminal_width() -> int | None:
    """Return how many columns the terminal has; None where the output goes elsewhere."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() else None


def print_wrapped(text: str) -> None:
    """Print a line, or several where the terminal is too narrow for it."""
    from phew.support.tables import wrapped

    width = terminal_width()
    typer.echo(text if width is None else "\n".join(wrapped(text, width)))
