"""Warnings that point to the caller's code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[1]) + os.sep

_MOST_NAMES = 5


class PhewWarning(UserWarning):
    """The base of phew's warnings, by which its own code leaves out those already given."""


def warn_caller(message: str, category: type[PhewWarning]) -> None:
    """Warn, and point to the line outside of phew from which it was called."""
    frame = sys._getframe()
    level = 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def listed(names: Iterable[str], most: int = _MOST_NAMES) -> str:
    """Write the first few of some names, e.g. "a, b, c, d, e and 7 more"."""
    names = list(names)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
