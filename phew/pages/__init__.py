"""Pages of results: one HTML file each, which needs no network and no other file."""

from phew.pages.page import Shown, page

__all__ = ["Shown", "page"]
