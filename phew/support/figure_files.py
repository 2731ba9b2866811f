"""The names of files of figures, which say what they hold; known without matplotlib."""

from __future__ import annotations

from pathlib import Path

_KINDS = ("png", "svg", "pdf")


def check_figure_file(argument: str, path: Path) -> str:
    """Return the kind of a figure's file by its name, such as "png".

    Raises:
        ValueError: If the name ends in none of the kinds; it names the argument.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _KINDS:
        raise ValueError(
            f"{argument} must end in .png, .svg or .pdf, got {str(path)!r}. "
            f"Name it '{path.stem or 'figure'}.png', for example."
        )
    return kind
