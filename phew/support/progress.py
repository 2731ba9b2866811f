"""The progress bar of long work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape


@contextmanager
def progress_bar(title: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """Draw a bar on standard error, or in the output of a notebook's cell until it is finished.

    Args:
        title: What is being done.
        shown: Whether to draw at all.

    Yields:
        A function that is told the finished share of the work, in [0, 1].
    """
    if not shown:
        yield lambda share: None
        return
    if _is_in_notebook():
        with _notebook_bar(title) as report:
            yield report
        return
    # Importing rich takes 25 ms, which only those who see a bar need to wait for.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = Console(stderr=True, force_jupyter=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _is_in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this, which has imported IPython by then."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


@contextmanager
def _notebook_bar(title: str) -> Iterator[Callable[[float], None]]:
    # rich would need ipywidgets here, and without them leaves a line for each step.
    from IPython.display import HTML, DisplayHandle

    handle = DisplayHandle()
    shown = 0

    def report(share: float) -> None:
        nonlocal shown
        if round(100 * share) > shown:
            shown = round(100 * share)
            handle.update(HTML(_bar(title, shown)))

    handle.display(HTML(_bar(title, shown)))
    try:
        yield report
    finally:
        handle.update(HTML(""))


def _bar(title: str, per_cent: int) -> str:
    return f'<label>{escape(title)} <progress max="100" value="{per_cent}"></progress></label>'
