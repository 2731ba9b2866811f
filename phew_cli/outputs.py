"""`--figure` and `--html`: the files that show the results of a command."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import typer

from phew import pages
from phew._core import __version__
from phew.graph.digests import digest_of_graph, digest_of_values
from phew.graph.walk_graph import WalkGraph
from phew.support.figure_files import check_figure_file
from phew.support.files import check_replaceable, write_whole


def check_outputs(figure: Path | None, html: Path | None) -> None:
    """Raise an error, before any work, where `--figure` or `--html` would fail after it."""
    if figure is not None:
        check_figure_file("--figure", figure)
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise ValueError(
            f"--html must end in .html, got {str(html)!r}. "
            f"Name it '{html.stem or 'report'}.html', for example."
        )
    for option, path in (("--figure", figure), ("--html", html)):
        if path is None:
            continue
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise ValueError(
                f"{option} must be a file in a folder that exists, got {str(path)!r}. "
                "Make the folder, or name another."
            )
        check_replaceable(path)
        importlib.import_module("phew.plot")


def write_page(
    path: Path,
    context: typer.Context,
    parts: Mapping[str, pages.Shown],
    facts: Mapping[str, Any],
    warnings: Sequence[str],
) -> None:
    """Write the results of a command as a page, whole or not at all.

    Args:
        path: The file.
        context: The command as it was called.
        parts: Its results by heading.
        facts: How they were made; those that are None are left out.
        warnings: Its messages.
    """
    command = _command(context)
    made = {"command": command, "phew": __version__, "torch": torch.__version__, **facts}
    shown = {name: str(fact) for name, fact in made.items() if fact is not None}
    title = f"phew {context.info_name} {context.params['model']}"
    content = pages.page(title, parts, facts=shown, warnings=warnings)
    write_whole(path, content.encode())


def facts_of(header: Mapping[str, Any], graph: WalkGraph) -> dict[str, Any]:
    """Return how the network was made, and what tells whether another run was on the same.

    Args:
        header: The model, the shape of its input and the like, as in JSON.
        graph: Its graph, with the weights before it was pruned.
    """
    shape, digest = header["input_shape"], digest_of_values(graph)
    # Weights of a file were not drawn by a seed, nor are those of a checkpoint, which stay on disk.
    is_drawn = header["weights"] is None and digest is not None
    return {
        "input shape": None if shape is None else " x ".join(map(str, shape)),
        "weights": header["weights"],
        "seed of initial weights": header["init_seed"] if is_drawn else None,
        "digest of the graph": digest_of_graph(graph),
        "digest of the weights": digest,
    }


def _command(context: typer.Context) -> str:
    """Return the command with the options that were given, as a shell takes it."""
    words = ["phew", context.info_name or ""]
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        value = context.params.get(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        option = parameter.opts[0]
        if parameter.param_type_name == "argument":
            words.append(str(value))
        elif value is True:
            words.append(option)
        else:
            for each in value if isinstance(value, (list, tuple)) else [value]:
                words += [option, str(each)]
    return shlex.join(words)
