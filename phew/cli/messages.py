"""What commands say on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from phew.graph.walk_graph import WalkGraph


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn what is wrong with the input, rather than the program, into one line and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        typer.echo(f"phew: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def tell_approximations(graph: WalkGraph) -> None:
    """Tell what capture does not know, and why."""
    for operation in graph.notes.approximations:
        message = f"taken as a complete wiring: {operation}: {operation.reason}"
        typer.echo(f"phew: {message}", err=True)
