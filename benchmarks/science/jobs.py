"""Jobs, one for each row of results. The fields of a job identify its row."""

from __future__ import annotations

import statistics
import time
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from support import graphs
from support.machine import peak_memory
from support.methods import time_training_step
from support.processes import in_fresh_process
from torch import Tensor, nn

import phew
from phew.analysis import analyze
from phew.masks.rescaling import Rescale
from phew.models import NETWORKS
from science.data import load
from science.networks import build, num_prunable
from science.pruning import choose_masks, pruning_batch, shuffled
from science.speed import Speed
from science.training import Protocol, train
from science.walk_products import expected_product

Ablation: TypeAlias = Literal["none", "shuffled", "redrawn"]

DENSE = "dense"
TRAINING_STEP = "training step"
BATCH_SIZE = 32
"""The number of inputs of a training step, and of SNIP and GraSP when their cost is measured."""

SHORT = 5.0
"""Methods that take fewer seconds than this are measured three times."""

REDRAWN = 1000
"""This is added to a seed to draw other initial weights."""

ONE_WALK = 0.0
"""The density that stands for the weights of a single walk."""


def rounded(value: float | None) -> float | None:
    """Return a result with the digits that are kept of it, three."""
    return None if value is None else float(f"{value:.3g}")


@dataclass(frozen=True)
class Training:
    """Train a network that a method pruned.

    Attributes:
        seed: The seed of the initial weights, the method, the examples that it prunes with and the
            order of training. So networks with one seed differ in their masks alone, unless their
            weights are drawn anew.
        rescale: How kept weights are rescaled (see `phew.Masks.apply`).
        ablation: A part of the method's choice that is given up: "shuffled" keeps as many weights
            of each layer, but at random places; "redrawn" trains other initial weights under the
            masks (Frankle et al.: Pruning Neural Networks at Initialization, ICLR 2021, section 5).
        as_many_as: If it is not "", the network of whose weights `density` is the kept share: the
            one that is trained keeps as many weights.
    """

    data: str
    network: str
    method: str
    density: float
    seed: int
    num_epochs: int
    rescale: Rescale = "none"
    ablation: Ablation = "none"
    as_many_as: str = ""

    def run(self, folder: Path) -> dict[str, Any]:
        data = load(self.data, folder)
        network = build(self.network, data, self.seed)
        masks = None
        if self.method != DENSE:
            density = self.density
            if self.as_many_as:
                other = build(self.as_many_as, data, self.seed)
                density *= num_prunable(other) / num_prunable(network)
            masks = choose_masks(
                self.method,
                network,
                data.example,
                density,
                seed=self.seed,
                batch=pruning_batch(data, self.seed),
            )
            if self.ablation == "shuffled":
                masks = shuffled(masks, self.seed)
            elif self.ablation == "redrawn":
                network = build(self.network, data, self.seed + REDRAWN)
            with warnings.catch_warnings():
                if self.ablation == "redrawn":
                    warnings.simplefilter("ignore", phew.OtherWeightsWarning)
                masks.apply(network, rescale=self.rescale)
        outcome = train(network, masks, data, Protocol(self.num_epochs), self.seed)
        return {
            "accuracy": rounded(outcome.accuracy),
            "loss": rounded(statistics.fmean(outcome.losses)),
        }


@dataclass(frozen=True)
class Structure:
    """Prune a network of `phew.models` without data, and analyse what is left of it.

    Attributes:
        seed: The seed of the initial weights and of the method.
    """

    network: str
    method: str
    density: float
    seed: int

    def run(self, _: Path) -> dict[str, Any]:
        network = NETWORKS[self.network]
        torch.manual_seed(self.seed)
        model, example = network.build(), torch.zeros(1, *network.input_shape)
        graph = phew.capture(model, example)
        density = self.density or 1 / graph.num_prunable_weights
        masks = choose_masks(self.method, model, example, density, seed=self.seed)
        analysis = analyze(graph, masks=masks)
        return {
            "width": rounded(analysis.hidden_width),
            # It is exact, because one dead weight tells it from 1.
            "effective_density": analysis.total.effective_density / masks.density,
            "trace": rounded(analysis.path_kernel_trace),
            "log10_num_paths": rounded(analysis.log10_num_paths),
            "dead_layers": len(analysis.dead_layers),
            "kept_flops": rounded(analysis.total.kept_flops),
        }


@dataclass(frozen=True)
class WalkProduct:
    """Compare the expected product of a walk's squared weights with that of a uniform walk.

    Attributes:
        network: A chain among `phew.models`.
    """

    network: str
    seed: int

    def run(self, _: Path) -> dict[str, Any]:
        network = NETWORKS[self.network]
        torch.manual_seed(self.seed)
        graph = phew.capture(network.build(), torch.zeros(1, *network.input_shape))
        ratio = expected_product(graph, power=1) / expected_product(graph, power=0)
        num_layers = len(graph.prunable)
        return {"num_layers": num_layers, "ratio": ratio, "per_layer": ratio ** (1 / num_layers)}


@dataclass(frozen=True)
class Cost:
    """Time a method on a network of `phew.models`, in a process of its own, with all threads.

    Attributes:
        method: The method. If it needs data, it gets a batch of random inputs and labels.
    """

    network: str
    method: str
    density: float

    def run(self, _: Path) -> dict[str, Any]:
        if self.method == TRAINING_STEP:
            seconds = in_fresh_process(time_training_step, self.network, BATCH_SIZE)
            return {"seconds": seconds, "peak_memory": None}
        seconds, memory = in_fresh_process(_measure_cost, self)
        return {"seconds": seconds, "peak_memory": memory}


def _measure_cost(job: Cost) -> tuple[float, int]:
    """Return the median seconds of a method, and by how many bytes it raises the process's peak."""
    generator = torch.Generator().manual_seed(0)

    def prune(network: nn.Module, example: Tensor) -> float:
        inputs = torch.randn(BATCH_SIZE, *example.shape[1:], generator=generator)
        labels = torch.randint(10, (BATCH_SIZE,), generator=generator)
        started = time.perf_counter()
        choose_masks(job.method, network, example, job.density, batch=(inputs, labels))
        return time.perf_counter() - started

    # A first call imports and compiles, which is not timed.
    prune(*graphs.build_network("lenet5"))
    case = graphs.build_network(job.network)
    before = peak_memory()
    seconds = [prune(*case)]
    memory = peak_memory() - before
    if seconds[0] < SHORT:
        seconds += [prune(*case), prune(*case)]
    return statistics.median(seconds), memory


Job: TypeAlias = Training | Structure | WalkProduct | Cost | Speed
KINDS: dict[str, type[Job]] = {
    "training": Training,
    "structure": Structure,
    "walk product": WalkProduct,
    "cost": Cost,
    "speed": Speed,
}
_KIND_OF = {kind: name for name, kind in KINDS.items()}


def row_of(job: Job) -> dict[str, Any]:
    """Return the kind and the fields of a job, with which its row begins."""
    return {"kind": _KIND_OF[type(job)], **asdict(job)}


def job_of(row: dict[str, Any]) -> Job:
    """Return the job of a row; rows may lack fields that jobs had not when they were made."""
    kind = KINDS[row["kind"]]
    return kind(**{field.name: row[field.name] for field in fields(kind) if field.name in row})
