"""The command line: `phew prune`, `inspect`, `compare`, `models` and `info`.

It is a package beside phew, because an import of anything in phew imports torch, for which
`phew --help` need not wait. So what commands call is imported where they run.
"""

from __future__ import annotations

from typing import Annotated

import typer

from phew_cli import compare, info, inspect, prune

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def main() -> None:
    """Run the command line on the arguments of this process."""
    app(prog_name="phew")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"phew {version('torch-phew')}")
        raise typer.Exit


@app.callback()
def phew(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Prune a neural network before it is trained, without data.

    PHEW walks at random from the inputs to the outputs, and back, preferring higher weights. The
    weights that were walked are kept, the others are pruned.

    Prune a built-in network to 10% of its weights, and save the masks:
    ```
    phew prune resnet20 --density 0.1 --out masks.safetensors
    ```
    Prune your own, which `make_net()` in `mynets.py` of this directory returns:
    ```
    phew prune mynets:make_net --input-shape 3,64,64 --density 0.05
    ```
    Or one of another library:
    ```
    phew prune timm:vit_base_patch16_224 --density 0.05
    ```
    See what of it can be pruned, and how walks pass through it:
    ```
    phew inspect mynets:make_net --input-shape 3,64,64
    ```
    Compare what PHEW and other methods leave of a network:
    ```
    phew compare resnet20 --methods phew,magnitude,erk
    ```
    An error is one line; with `PHEW_DEBUG=1` in the environment it is Python's traceback.
    """


for _command in (prune.prune, inspect.inspect, compare.compare, info.models, info.info):
    app.command()(_command)
