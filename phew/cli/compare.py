"""`phew compare`: several methods of pruning, side by side."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from phew import analysis, baselines
from phew.api import sample_masks
from phew.capture import capture
from phew.cli.messages import messages_in_one_line
from phew.cli.networks import (
    AsJson,
    Exclude,
    Include,
    InitSeed,
    InputShape,
    Model,
    load_network,
    shape_of,
)
from phew.cli.outputs import FigureFile, HtmlFile, check_outputs, facts_of, write_page
from phew.cli.terminal import print_wrapped, terminal_width
from phew.cli.weights import Weights
from phew.graph.walk_graph import WalkGraph
from phew.masks.masks import Masks
from phew.pages import Shown
from phew.support.files import check_replaceable, write_whole
from phew.support.warn import PhewWarning


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
        check_outputs(figure, html)
        chosen, requested = _parse_methods(methods, seed), _parse_densities(densities)
        if out is not None:
            _check_out(out)
        network, example_inputs = load_network(model, input_shape, init_seed, weights)
        included, excluded = include or None, exclude or ()
        comparison = analysis.compare(
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
                graph = capture(network, example_inputs, include=included, exclude=excluded)
            parts = _parts(graph, comparison)
            write_page(html, context, parts, {"seed": seed} | facts_of(header, graph), warned)

    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(comparison.table(terminal_width()))
        saved = "not saved (--out DIR saves figures and numbers)"
        print_wrapped(saved if out is None else f"saved to {out}")


def labelled_methods(seed: int) -> dict[str, tuple[str, Callable[..., Masks]]]:
    """Return the label and the function of each method, by its name on the command line."""
    walks = partial(baselines.ablation, seed=seed)
    return {
        "phew": ("PHEW", partial(sample_masks, seed=seed)),
        "synflow": ("SynFlow", baselines.synflow),
        "synflow-l2": ("SynFlow-L2", baselines.synflow_l2),
        "magnitude": ("magnitude", baselines.magnitude),
        "random": ("random", partial(baselines.random, seed=seed)),
        "random-layer": ("random by layer", partial(baselines.random, seed=seed, scope="layer")),
        "erk": ("ERK", partial(baselines.erk, seed=seed)),
        "uniform-walks": ("uniform walks", partial(walks, variant="uniform")),
        "inverse-walks": ("inverse walks", partial(walks, variant="inverse")),
        "squared-walks": ("PHEW2", partial(walks, variant="squared")),
        "kernel-walks": ("kernel PHEW", partial(walks, variant="kernel")),
    }


def _parse_methods(text: str, seed: int) -> dict[str, Callable[..., Masks]]:
    known = labelled_methods(seed)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name in ("snip", "grasp"):
            raise ValueError(
                f"--methods must be of those that need no data, got {name!r}. "
                f"In Python, phew.baselines.{name} takes a loss on data."
            )
        if name not in known:
            raise ValueError(
                f"--methods must be names with commas, of {', '.join(known)}, got {name!r}."
            )
    return dict(known[name] for name in names)


def _parse_densities(text: str) -> list[float]:
    try:
        return [float(density) for density in text.split(",")]
    except ValueError:
        raise ValueError(
            f"--densities must be numbers with commas such as 0.1,0.01, got {text!r}."
        ) from None


def _check_out(out: Path) -> None:
    """Raise ValueError or ImportError, before any work, where `_save` would fail after it."""
    if not out.is_dir() and (out.exists() or not out.absolute().parent.is_dir()):
        raise ValueError(
            f"--out must be a folder or a new one in a folder that exists, got {str(out)!r}."
        )
    check_replaceable(out / "comparison.json")
    importlib.import_module("phew.plot")


def _save(out: Path, comparison: analysis.Comparison, result: str) -> None:
    from phew import plot

    layers, against_density = plot.layers(comparison), plot.against_density(comparison)
    out.mkdir(exist_ok=True)
    write_whole(out / "layers.svg", plot.svg(layers))
    write_whole(out / "against_density.svg", plot.svg(against_density))
    write_whole(out / "comparison.json", result.encode())


def _draw(path: Path, comparison: analysis.Comparison) -> None:
    from phew import plot

    plot.save(plot.comparisons(comparison), path)


def _parts(graph: WalkGraph, comparison: analysis.Comparison) -> dict[str, Shown]:
    """Return what a report shows, by heading."""
    from phew import plot

    return {
        "Whole network": plot.against_density(comparison),
        "Layers": plot.layers(comparison),
        "Numbers": comparison,
        "Network": plot.network(graph),
    }
