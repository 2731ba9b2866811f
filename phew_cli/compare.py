"""`phew compare`: several methods of pruning, side by side."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phew_cli.messages import messages_in_one_line
from phew_cli.options import (
    AsJson,
    Exclude,
    FigureFile,
    HtmlFile,
    Include,
    InitSeed,
    InputShape,
    Model,
    Weights,
)
from phew_cli.terminal import print_wrapped, terminal_width

if TYPE_CHECKING:
    import phew
    from phew.pages import Shown


def compare(
    context: typer.Context,
    model: Model,
    densities: Annotated[
        str, typer.Option(metavar="D,D,...", help="Kept / prunable weights, each in (0, 1].")
    ] = "0.5,0.2,0.1,0.05,0.02,0.01",
    methods: Annotated[
        str, typer.Option(metavar="NAME,NAME,...", help="Methods, of those above.")
    ] = "phew,synflow,synflow-l2,magnitude,random,erk",
    seed: Annotated[int, typer.Option(help="Seed of the methods that draw at random.")] = 0,
    init_seed: InitSeed = 0,
    weights: Weights = None,
    input_shape: InputShape = None,
    include: Include = None,
    exclude: Exclude = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Save figures and numbers here; needs matplotlib."),
    ] = None,
    figure: FigureFile = None,
    html: HtmlFile = None,
    as_json: AsJson = False,
) -> None:
    """Print what methods leave of a network.

    The table counts, for the whole network at each density, weights and units on a path from input
    to output, active hidden units, paths, operations and dead layers, and has the path kernel trace
    as a share of the dense network's. `--out` saves `layers.svg`, `against_density.svg` and
    `comparison.json` with all layers; `--figure` saves both figures as one.
    ```
    phew compare resnet20
    phew compare vgg19_bn --densities 0.1,0.01 --methods phew,magnitude,erk --out figures
    phew compare lenet5 --methods phew,uniform-walks,inverse-walks,squared-walks,kernel-walks
    ```
    Methods are phew, synflow, synflow-l2, magnitude, random, random-layer, erk, and those of PHEW's
    ablations: uniform-walks, inverse-walks, squared-walks, kernel-walks.
    """
    with messages_in_one_line() as warned:
        import phew
        from phew.support.warn import PhewWarning
        from phew_cli.methods import parse_methods
        from phew_cli.networks import load_network, shape_of
        from phew_cli.outputs import check_outputs, facts_of, write_page

        check_outputs(figure, html)
        chosen, requested = parse_methods(methods, seed), _parse_densities(densities)
        if out is not None:
            _check_out(out)
        network, example_inputs = load_network(model, input_shape, init_seed, weights)
        included, excluded = include or None, exclude or ()
        comparison = phew.analysis.compare(
            network,
            example_inputs,
            methods=chosen,
            densities=requested,
            include=included,
            exclude=excluded,
            progress=sys.stderr.isatty(),
        )
        header = {
            "model": model,
            "input_shape": shape_of(example_inputs),
            "init_seed": init_seed,
            "weights": None if weights is None else str(weights),
            "seed": seed,
        }
        result = {
            **header,
            "out": None if out is None else str(out),
            **comparison.as_dict(),
        }
        if out is not None:
            _save(out, comparison, json.dumps(result))
        if figure is not None:
            _draw(figure, comparison)
        if html is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PhewWarning)  # `compare` has warned
                graph = phew.capture(network, example_inputs, include=included, exclude=excluded)
            parts = _parts(graph, comparison)
            write_page(html, context, parts, {"seed": seed} | facts_of(header, graph), warned)

    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(comparison.table(terminal_width()))
        saved = "not saved (--out DIR saves figures and numbers)"
        print_wrapped(saved if out is None else f"saved to {out}")


def _parse_densities(text: str) -> list[float]:
    try:
        return [float(density) for density in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--densities must be numbers with commas such as 0.1,0.01, got {text!r}."
        ) from None


def _check_out(out: Path) -> None:
    """Raise ValueError or ImportError, before any work, where `_save` would fail after it."""
    from phew.support.files import check_replaceable

    if not out.is_dir() and (out.exists() or not out.absolute().parent.is_dir()):
        raise ValueError(
            f"--out must be a folder or a new one in a folder that exists, got {str(out)!r}."
        )
    check_replaceable(out / "comparison.json")
    importlib.import_module("phew.plot")


def _save(out: Path, comparison: phew.analysis.Comparison, result: str) -> None:
    from phew import plot
    from phew.support.files import write_whole

    layers, against_density = plot.layers(comparison), plot.against_density(comparison)
    out.mkdir(exist_ok=True)
    write_whole(out / "layers.svg", plot.svg(layers))
    write_whole(out / "against_density.svg", plot.svg(against_density))
    write_whole(out / "comparison.json", result.encode())


def _draw(path: Path, comparison: phew.analysis.Comparison) -> None:
    from phew import plot

    plot.save(plot.comparisons(comparison), path)


def _parts(graph: phew.WalkGraph, comparison: phew.analysis.Comparison) -> dict[str, Shown]:
    """Return what a report shows, by heading."""
    from phew import plot

    return {
        "Whole network": plot.against_density(comparison),
        "Layers": plot.layers(comparison),
        "Numbers": comparison,
        "Network": plot.network(graph),
    }
