"""From results to a page of HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Protocol

from phew._core import __version__

_ID = re.compile(r'(\bid="|url\(#|href="#)')


class Shown(Protocol):
    """A result that notebooks show as HTML."""

    def _repr_html_(self) -> str | None: ...


def page(
    title: str,
    parts: Mapping[str, Shown],
    *,
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """Put results on one page of HTML that needs nothing else: no network, no scripts, no fonts.

    It can be read on a phone and in the dark, printed, and listened to.

    Args:
        title: What the page is about.
        parts: By heading a figure, or another result that notebooks show as HTML, such as masks,
            summaries, reports, analyses and comparisons.
        facts: How the results were made, such as the command and the seed, by name.
        warnings: What whoever reads the results should know.

    Returns:
        The page.

    Raises:
        TypeError: If a part is nothing that notebooks show as HTML.

    Example:
        >>> import torch, phew
        >>> from phew import pages, plot
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 4))
        >>> masks = phew.sample_masks(model, torch.zeros(1, 64), density=0.2)
        >>> parts = {"Layers": plot.masks(masks), "Counts": masks.summary()}
        >>> html = pages.page("Two layers", parts, facts={"seed": "0"})
        >>> html.startswith("<!doctype html>")
        True
    """
    # torch brings Jinja2, and imports it only when it is needed, as here.
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phew", "pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=title,
        version=__version__,
        facts=facts or {},
        warnings=warnings,
        # The parts escape what names they hold by themselves.
        parts=[
            (heading, f"part-{number}", Markup(_html(heading, part, number)))
            for number, (heading, part) in enumerate(parts.items(), start=1)
        ],
    )


def _html(heading: str, part: Any, number: int) -> str:
    if hasattr(part, "savefig"):
        return _inline(part, number)
    html = part._repr_html_() if hasattr(part, "_repr_html_") else None
    if not isinstance(html, str):
        raise TypeError(
            f"parts[{heading!r}] must be a figure or have a table for notebooks, got {part!r}."
        )
    return html


def _inline(figure: Any, number: int) -> str:
    """Return a figure as a part of a page, in which no other figure has its ids."""
    # matplotlib need not be there for pages without figures.
    from phew.plot.figures import svg

    text = svg(figure).decode()
    text = _ID.sub(rf"\g<1>figure-{number}-", text[text.index("<svg") :])
    label = escape(figure.get_label() or "Figure")
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
