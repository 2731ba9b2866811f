"""The browser that tests open pages in."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome")


def installed_browser() -> str | None:
    """Return the path of Chromium or Chrome, None where there is neither."""
    return next(filter(None, map(shutil.which, NAMES)), None)
