"""The command line: `phew prune`, `phew inspect`, `phew models` and `phew info`."""

from __future__ import annotations

import difflib
import importlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from phew import __version__, _core, built_with_cuda, capture, sample_masks
from phew.capture.example_inputs import described_inputs
from phew.models import NETWORKS
from phew.options import Fork, Granularity, Power
from phew.report import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Model: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        show_default=False,
        help="A name that phew models lists, or package.module:callable, which is called "
        "without arguments and returns a torch.nn.Module.",
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
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else.")
]


def main() -> None:
    """Run the command line on the arguments of this process."""
    app(prog_name="phew")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"phew {__version__}")
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
    See what of it can be pruned, and how walks pass through it:
    ```
    phew inspect mynets:make_net --input-shape 3,64,64
    ```
    """


@app.command()
def prune(
    model: Model,
    density: Annotated[
        float, typer.Option(show_default=False, help="Kept / prunable weights, in (0, 1].")
    ],
    seed: Annotated[int, typer.Option(help="Seed of the walks.")] = 0,
    init_seed: InitSeed = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the masks here, as safetensors.")
    ] = None,
    input_shape: InputShape = None,
    fork: Annotated[
        Fork,
        typer.Option(help="Choose between links uniformly or by the unit's mass in each."),
    ] = "uniform",
    granularity: Annotated[
        Granularity,
        typer.Option(help="Keep the visited weights or the whole kernel of each."),
    ] = "weight",
    power: Annotated[
        Power,
        typer.Option(help="Power of the magnitude that walks follow; 1 is PHEW, 0 uniform."),
    ] = 1,
    include: Include = None,
    exclude: Exclude = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Number of threads; by default those of torch.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to walk: cpu, or a CUDA device such as cuda:0.")
    ] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Sample the masks of a network and print what they keep.

    The masks depend on the initial weights, the density, the seed and the options alone.
    ```
    phew prune vgg19_bn --density 0.1
    phew prune resnet50 --density 0.05 --exclude 'classifier.*'
    phew prune mynets:make_net --input-shape 3,64,64 --density 0.05 --json
    ```
    In Python, use them on the same initial weights, here those of `--init-seed 0`:
    ```
    torch.manual_seed(0)
    model = make_net()
    phew.Masks.load("masks.safetensors").apply(model)
    ```
    """
    with _errors_in_one_line():
        if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
            raise ValueError(f"--out must be a file in a folder that exists, got {str(out)!r}.")
        network, example_inputs = _load_network(model, input_shape, init_seed)
        started = time.perf_counter()
        graph = capture(network, example_inputs, include=include or None, exclude=exclude or ())
        for operation in graph.approximations:
            message = f"taken as a complete wiring: {operation}: {operation.reason}"
            typer.echo(f"phew: {message}", err=True)
        masks = sample_masks(
            graph,
            density=density,
            seed=seed,
            fork=fork,
            granularity=granularity,
            power=power,
            num_threads=threads,
            device=device,
            progress=sys.stderr.isatty(),
        )
        seconds = time.perf_counter() - started
        if out is not None:
            masks.save(out)

    if as_json:
        result = {
            "model": model,
            "input_shape": _shape_of(example_inputs),
            "init_seed": init_seed,
            "density": masks.density,
            "num_kept": masks.num_kept,
            "num_weights": masks.num_weights,
            "num_walks": masks.num_walks,
            "approximations": [asdict(operation) for operation in graph.approximations],
            "seconds": seconds,
            "out": None if out is None else str(out),
            "info": dict(masks.info),
            "summary": masks.summary().as_dict(),
        }
        typer.echo(json.dumps(result))
    else:
        typer.echo(str(masks.summary()))
        typer.echo(
            f"density {masks.density:.6g}: kept {masks.num_kept:,} of {masks.num_weights:,} "
            f"weights by {masks.num_walks:,} walks in {seconds:.2f} s; "
            + ("not saved (--out FILE saves the masks)" if out is None else f"saved to {out}")
        )


@app.command()
def inspect(
    model: Model,
    init_seed: InitSeed = 0,
    input_shape: InputShape = None,
    include: Include = None,
    exclude: Exclude = None,
    as_json: AsJson = False,
) -> None:
    """Print what of a network can be pruned, and how walks pass through it.

    Every weighted link, fork and shortcut; what is not pruned, and why; operations whose wiring is
    not known; weights that no walk reaches. Rows of repeated blocks are one row.
    ```
    phew inspect resnet50
    phew inspect torchvision.models:swin_t --exclude 'head.*'
    phew inspect mynets:make_net --input-shape 3,64,64 --json
    ```
    """
    with _errors_in_one_line():
        network, example_inputs = _load_network(model, input_shape, init_seed)
        graph = capture(network, example_inputs, include=include or None, exclude=exclude or ())
    if as_json:
        header = {
            "model": model,
            "input_shape": _shape_of(example_inputs),
            "init_seed": init_seed,
        }
        typer.echo(json.dumps(header | Report(graph).as_dict()))
    else:
        typer.echo(graph.report())


@app.command()
def models() -> None:
    """List the built-in networks."""
    table = Table("name", "input shape", box=None)
    table.add_column("prunable weights", justify="right")
    for name, network in NETWORKS.items():
        with torch.device("meta"):
            parameters = network.build().parameters()
        num_weights = sum(weight.numel() for weight in parameters if weight.dim() > 1)
        table.add_row(name, ",".join(map(str, network.input_shape)), f"{num_weights:,}")
    Console().print(table)


@app.command()
def info(as_json: AsJson = False) -> None:
    """Print versions, and what walks can run on: instruction sets, threads, CUDA devices."""
    facts = {
        "phew": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "instruction_set": _core.instruction_set(),
        "instruction_sets": _core.instruction_sets(),
        "built_with_cuda": built_with_cuda,
        "cuda": torch.version.cuda,
        "devices": [_describe_device(index) for index in range(torch.cuda.device_count())],
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        value = ", ".join(fact) if isinstance(fact, list) else fact
        table.add_row(name.replace("_", " "), "none" if value in (None, "") else str(value))
    Console(soft_wrap=True).print(table)


def _describe_device(index: int) -> str:
    device = torch.cuda.get_device_properties(index)
    gibibytes = device.total_memory / 2**30
    return f"{device.name} ({gibibytes:.0f} GiB, compute capability {device.major}.{device.minor})"


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    """Turn what is wrong with the input, rather than the program, into one line and exit code 2."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        typer.echo(f"phew: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def _load_network(target: str, input_shape: str | None, init_seed: int) -> tuple[nn.Module, Any]:
    """Build the network that MODEL names, and inputs for it."""
    shape = _parse_shape(input_shape) if input_shape is not None else None
    if target in NETWORKS:
        build = NETWORKS[target].build
        shape = shape or NETWORKS[target].input_shape
    elif ":" in target:
        build = _import(target)
    else:
        close = difflib.get_close_matches(target, NETWORKS, n=1)
        suggestion = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"MODEL must be package.module:callable or a built-in name, got {target!r}."
            f"{suggestion} Built in are {', '.join(NETWORKS)}."
        )
    torch.manual_seed(init_seed)
    network = _build(target, build)
    if shape is not None:
        return network, torch.randn(1, *shape)
    try:
        return network, described_inputs(network)
    except ValueError:
        raise ValueError(
            f"--input-shape must be given for {target!r}, such as 3,224,224: "
            f"{type(network).__name__} does not describe its input."
        ) from None


def _shape_of(example_inputs: Any) -> list[int] | None:
    """Return the shape of one input without the batch, None where there are several inputs."""
    return list(example_inputs.shape[1:]) if isinstance(example_inputs, torch.Tensor) else None


def _import(target: str) -> Callable[[], nn.Module]:
    module_name, _, attribute = target.partition(":")
    if not all(map(str.isidentifier, [*module_name.split("."), attribute])):
        raise ValueError(f"MODEL must be package.module:callable, got {target!r}.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"MODEL must name a module to import, got {target!r}: {error}.") from error
    if not hasattr(module, attribute):
        raise ValueError(f"MODEL must name a callable, got {target!r}: no {attribute!r} there.")
    build: Callable[[], nn.Module] = getattr(module, attribute)
    return build


def _build(target: str, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        signature(build).bind()
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"MODEL must be callable without arguments, got {target!r}: {error}."
        ) from error
    try:
        network = build()
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(
            f"MODEL must return a torch.nn.Module, got {kind} from {target!r}: {error}."
        ) from error
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise TypeError(f"MODEL must return a torch.nn.Module, got {kind} from {target!r}.")
    return network


def _parse_shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ValueError(
            f"--input-shape must be positive integers with commas such as 3,224,224, got {text!r}."
        )
    return tuple(map(int, sizes))
