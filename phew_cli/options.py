"""MODEL and the options of several commands.

`phew --help` shows them without importing phew, which takes as long as importing torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

Fork: TypeAlias = Literal["uniform", "mass"]
Granularity: TypeAlias = Literal["weight", "kernel"]
Power: TypeAlias = Literal[1, 0, 2, -1]
Rescale: TypeAlias = Literal["none", "auto", "variance", "fan_in"]

Model: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        show_default=False,
        help="A name that phew models lists; timm:NAME, torchvision:NAME or transformers:CONFIG, "
        "a class of configurations or a folder with one; or package.module:callable or "
        "file.py:callable, which is called without arguments and returns a torch.nn.Module. Its "
        "code is imported and runs; modules are looked for in the current directory first, before "
        "installed ones.",
    ),
]
InitSeed: TypeAlias = Annotated[int, typer.Option(help="Seed of torch for the initial weights.")]
InputShape: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="C,H,W",
        help="Shape of one input, without the batch; built-in networks have their own, and so have "
        "most models of timm, torchvision and transformers.",
    ),
]
Include: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Prune these parameters only, lookup embeddings among them; may be repeated.",
    ),
]
Exclude: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN", help="Keep these parameters whole, e.g. 'head.*'; may be repeated."
    ),
]
LayerDensities: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--layer-density",
        metavar="PATTERN=D",
        help="Another density of these parameters, e.g. 'head=0.5', or 'head=1' to keep them "
        "whole; may be repeated, and the first that matches counts.",
    ),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else.")
]
Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Load these weights into MODEL, all of them: a state dict that torch.save wrote "
        "(.pt, .pth, .bin), of which nothing is executed, or a safetensors file or a folder of "
        "them.",
    ),
]
FigureFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--figure", metavar="FILE", help="Draw a figure: .png, .svg or .pdf; needs matplotlib."
    ),
]
HtmlFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write a report with figures, tables and warnings, one .html file; needs matplotlib.",
    ),
]
