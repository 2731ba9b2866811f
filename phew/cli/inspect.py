"""`phew inspect`: the report of a network."""

from __future__ import annotations

import json

import typer

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
from phew.cli.outputs import (
    FigureFile,
    HtmlFile,
    check_outputs,
    facts_of,
    write_page,
)
from phew.cli.terminal import terminal_width
from phew.cli.weights import Weights
from phew.graph.report import Report
from phew.pages import Shown


def inspect(
    context: typer.Context,
    model: Model,
    init_seed: InitSeed = 0,
    weights: Weights = None,
    input_shape: InputShape = None,
    include: Include = None,
    exclude: Exclude = None,
    figure: FigureFile = None,
    html: HtmlFile = None,
    as_json: AsJson = False,
) -> None:
    """Print what can be pruned and how walks pass.

    Every weighted link, fork and shortcut; what is not pruned, and why; operations whose wiring is
    not known; weights that no walk reaches. Rows of repeated blocks are one row.
    ```
    phew inspect resnet50
    phew inspect torchvision.models:swin_t --exclude 'head.*'
    phew inspect mynets:make_net --input-shape 3,64,64 --json
    phew inspect timm:vit_base_patch16_224 --figure network.svg --html report.html
    ```
    """
    with messages_in_one_line() as warned:
        check_outputs(figure, html)
        network, example_inputs = load_network(model, input_shape, init_seed, weights)
        graph = capture(network, example_inputs, include=include or None, exclude=exclude or ())
        report = Report(graph)
        header = {
            "model": model,
            "input_shape": shape_of(example_inputs),
            "init_seed": init_seed,
            "weights": None if weights is None else str(weights),
        }
        if figure is not None or html is not None:
            from phew import plot  # needs matplotlib

            drawn = plot.network(graph)
            if figure is not None:
                plot.save(drawn, figure)
            if html is not None:
                parts: dict[str, Shown] = {
                    "Network": drawn,
                    "Links and forks": report,
                }
                write_page(html, context, parts, facts_of(header, graph), warned)
    if as_json:
        typer.echo(json.dumps(header | report.as_dict()))
    else:
        typer.echo(report.text(terminal_width()))
