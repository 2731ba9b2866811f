"""The messages of commands on standard error."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer


def say(message: str) -> None:
    """Print a message in one line on standard error."""
    typer.echo(f"phew: {' '.join(message.split())}", err=True)


@contextmanager
def messages_in_one_line() -> Iterator[list[str]]:
    """Print phew's warnings, and errors that arguments and files cause, in one line each.

    Errors end with exit code 2. A defect of a program may raise the same types: PHEW_DEBUG=1 in the
    environment shows the traceback instead.

    Yields:
        The warnings of phew that have been printed, in a list that grows.
    """
    printed: list[str] = []
    try:
        from phew.support.warn import PhewWarning

        with warnings.catch_warnings():
            warnings.simplefilter("always", PhewWarning)
            warnings.showwarning = partial(_show, warnings.showwarning, printed)
            yield printed
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("PHEW_DEBUG") == "1":
            raise
        say(str(error))
        raise typer.Exit(2) from None


def _show(
    show_others: Callable[..., None],
    printed: list[str],
    message: Warning | str,
    category: type[Warning],
    *place: Any,
    **options: Any,
) -> None:
    """Print a warning as `warnings.showwarning` does, phew's own without the place in the code."""
    from phew.support.warn import PhewWarning

    if issubclass(category, PhewWarning):
        printed.append(str(message))
        typer.echo(f"phew: {message}", err=True)
    else:
        show_others(message, category, *place, **options)
