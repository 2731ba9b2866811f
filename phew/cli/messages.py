"""The messages of commands on standard error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from phew.graph.walk_graph import WalkGraph


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn errors that arguments and files cause into one line and exit code 2.

    A defect of a program may raise the same types: PHEW_DEBUG=1 in the environment shows the
    traceback instead.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("PHEW_DEBUG") == "1":
            raise
        typer.echo(f"phew: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def tell_approximations(graph: WalkGraph) -> None:
    """Print a line for each operation whose wiring capture does not know, with the reason."""
    for operation in graph.notes.approximations:
        message = f"taken as a complete wiring: {operation}: {operation.reason}"
        typer.echo(f"phew: {message}", err=True)
