"""`phew prune`: the masks of a network."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phew_cli.messages import messages_in_one_line
from phew_cli.options import (
    AsJson,
    Exclude,
    FigureFile,
    Fork,
    Granularity,
    HtmlFile,
    Include,
    InitSeed,
    InputShape,
    LayerDensities,
    Model,
    Power,
    Rescale,
    Weights,
)
from phew_cli.terminal import print_wrapped, terminal_width

if TYPE_CHECKING:
    from torch import nn

    import phew
    from phew.pages import Shown
    from phew.sparse.report import SparseReport

_SHOWN_ELSEWHERE = ("phew_version", "graph", "weights")
"""Entries of the masks' `info` that a report has for every command."""


def prune(
    context: typer.Context,
    model: Model,
    density: Annotated[
        float, typer.Option(show_default=False, help="Kept / prunable weights, in (0, 1].")
    ],
    layer_densities: LayerDensities = None,
    seed: Annotated[int, typer.Option(help="Seed of the walks.")] = 0,
    init_seed: InitSeed = 0,
    weights: Weights = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Save the masks here, as safetensors; with --sparse the sparse network, with "
            "--checkpoint a folder for masks.",
        ),
    ] = None,
    sparse: Annotated[
        bool,
        typer.Option(
            "--sparse",
            help="Make the network sparse: print what it costs, and save it instead of masks.",
        ),
    ] = False,
    rescale: Annotated[
        Rescale | None,
        typer.Option(
            show_default="auto, with --weights none",
            help="By what --sparse multiplies the kept weights of each unit, so that it puts out "
            "as much as before; auto leaves out last layers and units that are normalised. Weights "
            "of --weights may be trained, and stay as they are by default.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Prune the weights of this checkpoint, a safetensors file or a folder of them, "
            "where they are: they need not fit into memory.",
        ),
    ] = None,
    write_weights: Annotated[
        bool,
        typer.Option(
            "--write-weights", help="Write the checkpoint with pruned weights zeroed as well."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what a run that ended early left in --out.")
    ] = False,
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
        str | None,
        typer.Option(help="Where to walk: cpu, the default, or a CUDA device such as cuda:0."),
    ] = None,
    figure: FigureFile = None,
    html: HtmlFile = None,
    as_json: AsJson = False,
) -> None:
    """Sample masks and print what they keep.

    The masks depend on the weights, the density, the seed and the options alone. The weights are
    initial ones, or those of `--weights`, which are loaded before.
    ```
    phew prune vgg19_bn --density 0.1
    phew prune resnet50 --density 0.05 --exclude 'classifier.*'
    phew prune mynets:make_net --input-shape 3,64,64 --density 0.05 --json
    phew prune resnet20 --density 0.05 --figure layers.png --html report.html
    ```
    In Python, use them on the same initial weights, here those of `--init-seed 0`:
    ```
    torch.manual_seed(0)
    model = make_net()
    phew.Masks.load("masks.safetensors").apply(model)
    ```
    Weights that another program saved, for masks or a sparse network of these:
    ```
    phew prune torchvision:resnet18 --weights trained.pt --density 0.1 --out masks.safetensors
    ```
    The sparse network itself, its initial weights included, in a file of an eighth of the size:
    ```
    phew prune vgg19_bn --density 0.1 --sparse --out net.safetensors
    ```
    In Python, on a network of any initial weights:
    ```
    model = make_net()
    phew.load_sparse(model, "net.safetensors")
    ```
    A checkpoint that does not fit into memory, to `pruned/`:
    ```
    phew prune mynets:make_net --checkpoint llama/ --density 0.1 --out pruned --write-weights
    ```
    """
    with messages_in_one_line() as warned:
        import phew
        from phew_cli.networks import load_network, parse_layer_densities, shape_of
        from phew_cli.outputs import check_outputs, facts_of, write_page

        check_outputs(figure, html)
        _check_files(
            *(out, checkpoint),
            sparse=sparse,
            weights=weights,
            rescale=rescale,
            write_weights=write_weights,
            resume=resume,
            device=device,
        )
        on_meta = checkpoint is not None
        network, example_inputs = load_network(
            model, input_shape, init_seed, weights, on_meta=on_meta
        )
        started = time.perf_counter()
        with _stored_buffers(checkpoint, network):
            graph = phew.capture(
                network, example_inputs, include=include or None, exclude=exclude or ()
            )
        options: dict[str, Any] = {
            "density": density,
            "layer_densities": parse_layer_densities(layer_densities),
            "seed": seed,
            "fork": fork,
            "granularity": granularity,
            "power": power,
            "num_threads": threads,
            "progress": sys.stderr.isatty(),
        }
        if checkpoint is not None and out is not None:
            masks = phew.prune_checkpoint(
                graph, checkpoint, out=out, write_weights=write_weights, resume=resume, **options
            )
        else:
            masks = phew.sample_masks(graph, device=device or "cpu", **options)
            if out is not None and not sparse:
                masks.save(out)
        seconds = time.perf_counter() - started
        header: dict[str, Any] = {
            "model": model,
            "input_shape": shape_of(example_inputs),
            "init_seed": init_seed,
            "weights": None if weights is None else str(weights),
        }
        # Before the network is made sparse, which changes its weights.
        facts = {} if html is None else _made(masks, seconds) | facts_of(header, graph)
        report = None
        if sparse:
            rescale = rescale or ("auto" if weights is None else "none")
            report = _made_sparse(network, masks, example_inputs, rescale, out)
        if figure is not None:
            _draw(figure, masks)
        if html is not None:
            write_page(html, context, _parts(graph, masks, report), facts, warned)

    if as_json:
        approximations = [asdict(operation) for operation in graph.notes.approximations]
        header |= {"approximations": approximations, "seconds": seconds, "rescale": rescale}
        typer.echo(json.dumps(header | _facts_of(masks, report, out)))
    else:
        table = masks.summary() if report is None else report
        typer.echo(table.table(terminal_width()))
        print_wrapped(_facts_in_words(masks, rescale, seconds, out))


def _made_sparse(
    network: nn.Module, masks: phew.Masks, example_inputs: Any, rescale: Rescale, out: Path | None
) -> SparseReport:
    import phew

    report = phew.to_sparse(network, masks, example_inputs=example_inputs, rescale=rescale)
    if out is not None:
        phew.save_sparse(network, out)
    return report


def _draw(path: Path, masks: phew.Masks) -> None:
    from phew import plot  # needs matplotlib

    plot.save(plot.masks(masks), path)


def _parts(
    graph: phew.WalkGraph, masks: phew.Masks, report: SparseReport | None
) -> dict[str, Shown]:
    """Return what a report shows, by heading."""
    from phew import plot

    parts: dict[str, Shown] = {
        "Layers": plot.masks(masks),
        "Counts": masks.summary(),
        "Network": plot.network(graph, masks),
    }
    return parts if report is None else parts | {"Sparse network": report}


def _made(masks: phew.Masks, seconds: float) -> dict[str, Any]:
    """Return how masks were made."""
    info = {name: fact for name, fact in masks.info.items() if name not in _SHOWN_ELSEWHERE}
    return {
        "kept": f"{masks.num_kept:,} of {masks.num_weights:,} weights ({masks.density:.2%})",
        "seconds": f"{seconds:.2f}",
        **{name.replace("_", " "): fact for name, fact in info.items()},
    }


def _facts_of(masks: phew.Masks, report: SparseReport | None, out: Path | None) -> dict[str, Any]:
    return {
        "out": None if out is None else str(out),
        "sparse": None if report is None else report.as_dict(),
        "density": masks.density,
        "num_kept": masks.num_kept,
        "num_weights": masks.num_weights,
        "num_walks": masks.num_walks,
        "info": dict(masks.info),
        "summary": masks.summary().as_dict(),
    }


def _facts_in_words(
    masks: phew.Masks, rescale: Rescale | None, seconds: float, out: Path | None
) -> str:
    what = "masks" if rescale is None else "network"
    saved = f"not saved (--out FILE saves the {what})" if out is None else f"saved to {out}"
    if rescale is not None:
        how = "not rescaled" if rescale == "none" else f"rescaled: {rescale}"
        saved += f"; kept weights are {how}"
    return (
        f"density {masks.density:.6g}: kept {masks.num_kept:,} of {masks.num_weights:,} weights "
        f"by {masks.num_walks:,} walks in {seconds:.2f} s; {saved}"
    )


def _check_files(
    out: Path | None,
    checkpoint: Path | None,
    *,
    sparse: bool,
    weights: Path | None,
    rescale: Rescale | None,
    write_weights: bool,
    resume: bool,
    device: str | None,
) -> None:
    from phew.support.files import check_replaceable

    if rescale is not None and not sparse:
        raise ValueError(
            "--rescale must be given with --sparse: masks are rescaled where they are applied."
        )
    if weights is not None and checkpoint is not None:
        raise ValueError(
            "--weights must be given without --checkpoint, which prunes weights where they are. "
            "Leave one out."
        )
    if checkpoint is None:
        for option, is_given in (("--write-weights", write_weights), ("--resume", resume)):
            if is_given:
                raise ValueError(f"{option} must be given with --checkpoint DIR.")
        if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
            raise ValueError(f"--out must be a file in a folder that exists, got {str(out)!r}.")
        if out is not None:
            check_replaceable(out)
    elif sparse:
        raise ValueError(
            "--sparse must be given without --checkpoint: the network is made sparse in memory."
        )
    elif out is None:
        raise ValueError("--out must be given with --checkpoint: a folder for the masks.")
    elif device not in (None, "cpu"):
        raise ValueError(f"--device must be cpu with --checkpoint, got {device}. Leave it out.")


def _stored_buffers(checkpoint: Path | None, network: nn.Module) -> AbstractContextManager[None]:
    """Give buffers on the meta device, which capture may read, the values of a checkpoint."""
    from phew.checkpoints.run import stored_buffers
    from phew.checkpoints.stored_tensors import Checkpoint

    return nullcontext() if checkpoint is None else stored_buffers(Checkpoint(checkpoint), network)
