"""Prune a checkpoint that need not fit into memory."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from phew._core import __version__
from phew.arguments import Selectors, as_density, as_num_threads
from phew.capture.graph_of import as_graph
from phew.checkpoints.stored_tensors import Checkpoint
from phew.graph.digests import digest_of_graph
from phew.graph.walk_graph import WalkGraph
from phew.masks.assembly import assemble_masks
from phew.masks.collapse import warn_of_collapse
from phew.masks.facts import Scalar
from phew.masks.masks import Masks
from phew.support.devices import cpu_by_default
from phew.support.files import check_replaceable, is_partial, own_folder, remove_partial
from phew.support.progress import progress_bar
from phew.walks.bridge import NotFiniteError
from phew.walks.options import Fork, Granularity, Options, Power
from phew.walks.sampled_shares import info_of_walks, put_together, targets_of
from phew.walks.sampler import Sampler
from phew.walks.shares import as_layer_densities, shares_of
from phew.walks.visited import Visited

MASKS = "masks.safetensors"
UNFINISHED = "unfinished.safetensors"
"""Masks of the walks that have been made, until there are enough of them."""


def prune_checkpoint(
    model: nn.Module | WalkGraph,
    checkpoint: str | PathLike[str],
    example_inputs: Any = None,
    *,
    density: float,
    layer_densities: Mapping[str, float] | None = None,
    out: str | PathLike[str],
    write_weights: bool = False,
    resume: bool = False,
    seed: int = 0,
    fork: Fork = "uniform",
    granularity: Granularity = "weight",
    power: Power = 1,
    include: Selectors | None = None,
    exclude: Selectors = (),
    num_threads: int | None = None,
    progress: bool = False,
) -> Masks:
    """Prune a checkpoint by PHEW without loading it: its weights are read where they are on disk.

    The masks are those of `sample_masks` for the model with these weights, bit for bit. In memory
    are one bit for each prunable weight, and what one layer needs. Files in `out` get their names
    when they are whole, so that a run that is killed leaves none that is damaged.

    Args:
        model: The model, or the graph that `capture` made of it; its own weights are not read, so
            it may be built under `torch.device("meta")`, if it runs on shapes alone. (`.to("meta")`
            unties weights.)
        checkpoint: A safetensors file, or a folder with one or several as Hugging Face names them.
            Its tensors have the names of the model's parameters, tied ones any of theirs. Buffers
            on the meta device have the values that are there.
        example_inputs: What the model accepts (see `capture`, which says where it may be left out).
        density: Kept / prunable weights, in (0, 1].
        layer_densities: Other densities of some parameters by name or pattern, as in
            `sample_masks`.
        out: A folder for `masks.safetensors` (see `Masks.save`), made if it does not exist; empty
            but for what an earlier run left, if that is resumed.
        write_weights: Whether to write the checkpoint to `out` too, with pruned weights zeroed.
        resume: Whether to go on with what an earlier run of the same arguments left in `out`.
        seed: As in `sample_masks`, like all that follow.
        fork: How a walk chooses among the links of a unit.
        granularity: Whether weights or whole kernels are kept.
        power: The bias of a walk is this power of the magnitude.
        include: What alone is to be pruned.
        exclude: What of it is not to be pruned.
        num_threads: Number of threads.
        progress: Whether to draw a progress bar.

    Returns:
        The masks, packed. Their `info` tells how often the walks went through the checkpoint,
        `num_passes`, and how often they were expected to, `expected_passes`.

    Raises:
        OSError: If a file cannot be read or written; FileExistsError if `out` is not empty,
            BlockingIOError if another process writes there.
        TypeError: If an argument is of the wrong type.
        ValueError: As from `sample_masks`, and if the checkpoint is damaged or is not that of the
            model; the message names the file and the tensor.

    Example:
        >>> import tempfile, pathlib, torch, safetensors.torch, phew
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 10))
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> safetensors.torch.save_model(model, folder / "model.safetensors")
        >>> masks = prune_checkpoint(
        ...     model, folder, torch.zeros(1, 64), density=0.25, out=folder / "pruned"
        ... )
        >>> masks == phew.sample_masks(model, torch.zeros(1, 64), density=0.25)
        True
    """
    density = as_density(density)
    layer_densities = as_layer_densities(layer_densities)
    options = Options(seed, fork, granularity, power)
    num_threads = as_num_threads(num_threads)
    source, out = Checkpoint(Path(checkpoint)), Path(out)
    check_replaceable(out / UNFINISHED)  # also refuses names of `out` that no folder can have
    if out.resolve() == source.folder.resolve():
        raise ValueError(f"out must be another folder than the checkpoint's, got {str(out)!r}.")
    with own_folder(out):
        _check_out(out, source, resume=resume)
        if write_weights:
            source.check_can_write(out)
        with stored_buffers(source, model):
            graph = as_graph(model, example_inputs, include, exclude)
        names = {name: source.stored_name(graph.names_of(name)) for name in graph.parameters}
        weighted = _with_weights_of(source, graph, names)
        run = _Run(source, names, weighted, options, density, layer_densities, out)
        remove_partial(out)
        masks = run.masks_left(MASKS)
        if masks is None:
            with cpu_by_default(), progress_bar("walking", shown=progress) as report:
                masks = run.sample(num_threads, report)
            masks.save(out / MASKS)
        (out / UNFINISHED).unlink(missing_ok=True)
        if write_weights:
            mask_names = {stored: name for name in masks for stored in graph.names_of(name)}
            source.write_pruned(masks.pack(), mask_names, out)
        return masks


def _check_out(out: Path, source: Checkpoint, *, resume: bool) -> None:
    """Refuse a folder that is neither empty nor to be resumed, and files of the names used there.

    Raises:
        FileExistsError: If the folder holds other files, or a run that is not to be resumed.
        ValueError: If a file of the checkpoint has a name that the run gives to its own.
    """
    is_of_a_run = any((out / name).exists() for name in (MASKS, UNFINISHED))
    is_empty = all(is_partial(file) for file in out.iterdir())
    if not is_empty and not (resume and is_of_a_run):
        remedy = "Go on with what a run left there with resume, or give" if is_of_a_run else "Give"
        raise FileExistsError(f"out must be an empty folder, got {str(out)!r}. {remedy} another.")
    for file in source.files:
        if file.name in (MASKS, UNFINISHED):
            raise ValueError(
                f"checkpoint must have files of other names than {MASKS!r} and {UNFINISHED!r}, "
                f"got {str(file)!r}. Rename it."
            )


@contextmanager
def stored_buffers(source: Checkpoint, model: nn.Module | WalkGraph) -> Iterator[None]:
    """Give buffers on the meta device the values that a checkpoint has, in a block of code."""
    buffers = []
    for prefix, module in model.named_modules() if isinstance(model, nn.Module) else ():
        for name, buffer in module.named_buffers(prefix, recurse=False, remove_duplicate=False):
            if buffer.is_meta and name in source:
                buffers.append((module._buffers, name, buffer))
    try:
        for owner, name, _ in buffers:
            owner[name.rpartition(".")[2]] = source.copy_of(name)
        yield
    finally:
        for owner, name, buffer in buffers:
            owner[name.rpartition(".")[2]] = buffer


def _with_weights_of(source: Checkpoint, graph: WalkGraph, names: Mapping[str, str]) -> WalkGraph:
    """Return a graph with the weights of a checkpoint, which stay on disk until they are read."""
    return dataclasses.replace(
        graph,
        parameters={
            name: source.tensor(names[name], parameter.shape)
            for name, parameter in graph.parameters.items()
        },
    )


@dataclasses.dataclass(frozen=True)
class _Run:
    """One run over a checkpoint, whose results are in one folder.

    Attributes:
        source: The checkpoint.
        names: The name under which each parameter is stored there.
        graph: The walk graph, whose parameters are those of the checkpoint.
        options: The options of the walks.
        density: Kept / prunable weights.
        layer_densities: Other densities of some parameters.
        out: The folder.
    """

    source: Checkpoint
    names: Mapping[str, str]
    graph: WalkGraph
    options: Options
    density: float
    layer_densities: Mapping[str, float]
    out: Path

    @cached_property
    def identity(self) -> str:
        """A digest of everything that masks depend on.

        The names, sizes and times of the files stand for the weights. The version of phew is part
        of it, because the masks of a seed may change from one version to the next.
        """
        facts = (
            __version__,
            self.source.identity,
            digest_of_graph(self.graph),
            dataclasses.astuple(self.options),
            self.density,
            self.layer_densities,
        )
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def masks_left(self, name: str) -> Masks | None:
        """Return the masks that an earlier run left in a file, if it is there."""
        path = self.out / name
        if not path.exists():
            return None
        masks = Masks.load(path)
        shapes = [(name, self.graph.parameters[name].shape) for name in self.graph.prunable]
        if masks.info.get("run") != self.identity or [*masks.contents.shapes.items()] != shapes:
            raise ValueError(
                "out must hold what a run of the same arguments left, got another's "
                f"{str(path)!r}. Give another folder."
            )
        return masks

    def sample(self, num_threads: int, report: Callable[[float], None]) -> Masks:
        """Walk until the densities are met, from where an earlier run got to."""
        shares = shares_of(self.graph, self.density, self.layer_densities)
        try:
            sampler = Sampler(
                self.graph,
                self.options,
                num_threads=num_threads,
                packed=True,
            )
        except NotFiniteError as error:
            file = self.source.file_of(self.names[error.parameter])
            raise ValueError(f"{str(file)!r}: {error}") from error
        targets = targets_of(sampler, shares)
        self._go_on(sampler)
        expected_passes = sampler.expected_passes(targets.values())
        walked = sampler.run(targets.values(), report, after_batch=self._save)
        met = {sample.target: sample for sample in walked}
        samples = {share: met[target] for share, target in targets.items()}
        kept, num_walks = put_together(self.graph, shares, samples)
        info = info_of_walks(self.options, self.density, self.layer_densities, num_walks) | {
            "run": self.identity,
            "num_passes": sampler.num_passes,
            "expected_passes": expected_passes,
        }
        reads_weights = self.options.reads_weights
        masks = assemble_masks(self.graph, kept, info, reads_weights=reads_weights)
        warn_of_collapse(self.graph, [masks])
        return masks

    def _go_on(self, sampler: Sampler) -> None:
        """Take the walks that an earlier run made as made, if it left any."""
        unfinished = self.masks_left(UNFINISHED)
        if unfinished is None:
            return
        num_walks = unfinished.info.get("num_walks")
        try:
            # Walks are numbered in 64 bits.
            if type(num_walks) is not int or not 0 < num_walks < 2**62:
                raise ValueError(f"num_walks must be a number of walks, got {num_walks!r}.")
            sampler.go_on_from(num_walks, Visited.packed(self.graph, unfinished.pack().copy()))
        except ValueError as error:
            path = str(self.out / UNFINISHED)
            raise ValueError(f"{path!r} is damaged: {error} Remove it.") from error

    def _save(self, num_walks: int, visited: Visited) -> None:
        """Save the masks of the walks that have been made, from which a later run can go on."""
        info: dict[str, Scalar] = {"run": self.identity, "num_walks": num_walks}
        masks = visited.masks_of(self.graph.prunable, copied=False)
        Masks(masks, info=info).save(self.out / UNFINISHED)
