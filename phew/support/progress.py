"""The progress bar of long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def progress_bar(title: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """Draw a bar on standard error.

    Args:
        title: What is being done.
        shown: Whether to draw at all.

    Yields:
        A function that is told the finished share of the work, in [0, 1].
    """
    if not shown:
        yield lambda share: None
        return
    # Importing rich takes 25 ms, which only those who see a bar need to wait for.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    # In a notebook without widgets rich warns that it needs them, and shows nothing.
    force_jupyter = None if find_spec("ipywidgets") else False
    console = Console(stderr=True, force_jupyter=force_jupyter)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
