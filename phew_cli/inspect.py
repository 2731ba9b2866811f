"""`phew inspect`: the report of a network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

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
from phew_cli.terminal import terminal_width

if TYPE_CHECKING:
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
        import phew
        from phew_cli.networks import load_network, shape_of
        from phew_cli.outputs import check_outputs, facts_of, write_page

        check_outputs(figure, html)
        network, example_inputs = load_network(model, input_shape, init_seed, weights)
        graph = phew.capture(
            network, example_inputs, include=include or None, exclude=exclude or ()
        )
        report = phew.Report(graph)
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
