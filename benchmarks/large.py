"""What does a checkpoint take that is pruned where it is on disk, as it grows to billions?"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
import zoo as zoo  # mends torchvision's operators
from support.fits import fit
from support.markdown import mebibytes, significant, table
from support.processes import in_fresh_process
from support.suite import Benchmark, UnavailableError

import phew

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

DENSITY = 0.1
BYTES_PER_WEIGHT = 2
SAMPLING_SECONDS = 0.02


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    vocab_size: int = 32_000

    @property
    def largest_layer(self) -> int:
        """The number of weights of the largest layer."""
        return self.hidden_size * max(self.intermediate_size, self.vocab_size)

    @property
    def num_hops(self) -> int:
        """The hops of a walk.

        Each block has four: query, key or value; output; gate or up; down. The head has one.
        """
        return 4 * self.num_layers + 1

    def model(self) -> LlamaForCausalLM:
        """Build the model on the meta device."""
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_layers,
            num_attention_heads=self.hidden_size // 64,
            vocab_size=self.vocab_size,
        )
        with torch.device("meta"):
            return LlamaForCausalLM(config)


SHAPES = (
    Shape(768, 2048, 12),
    Shape(1024, 2816, 24),
    Shape(2048, 5632, 22),
    Shape(3200, 8640, 26),
    Shape(4096, 11_008, 32),
)
QUICK = (Shape(64, 176, 2, vocab_size=256), Shape(128, 352, 2, vocab_size=256))


@dataclass(frozen=True)
class Row:
    """A checkpoint that was pruned. Memory is in bytes, and anonymous: without the page cache."""

    num_weights: int
    largest_layer: int
    density: float
    num_walks: int
    num_hops: int
    num_passes: int
    expected_passes: int
    seconds: float
    hops_per_second: float
    memory_before: int
    peak_memory: int


def measure(quick: bool) -> Iterator[Row]:
    for shape in QUICK if quick else SHAPES:
        yield measure_shape(shape)


def measure_shape(shape: Shape) -> Row:
    """Write a checkpoint of random weights and prune it in a fresh process."""
    model = shape.model()
    size = BYTES_PER_WEIGHT * sum(parameter.numel() for parameter in model.parameters())
    with tempfile.TemporaryDirectory() as scratch:
        free = shutil.disk_usage(scratch).free
        if free < 1.3 * size:
            raise UnavailableError(f"{scratch} has {mebibytes(free)} MiB free, of {size:,} bytes.")
        write_checkpoint(model, Path(scratch))
        return in_fresh_process(prune, shape, Path(scratch))


def write_checkpoint(model: Any, folder: Path) -> None:
    """Write random bfloat16 weights as Hugging Face does, with one file per block."""
    generator = torch.Generator().manual_seed(0)
    files: dict[str, dict[str, torch.Size]] = {}
    for name, parameter in model.named_parameters():
        block = name.split(".")[2] if ".layers." in name else "rest"
        files.setdefault(f"model-{block}.safetensors", {})[name] = parameter.shape
    for file, shapes in files.items():
        tensors = {
            name: torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
            for name, shape in shapes.items()
        }
        safetensors.torch.save_file(tensors, folder / file)
    weight_map = {name: file for file, shapes in files.items() for name in shapes}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def prune(shape: Shape, folder: Path) -> Row:
    """Prune a checkpoint, in a process of its own."""
    model = shape.model()
    before = anonymous_memory()
    with peak_of_anonymous_memory() as peak:
        started = time.perf_counter()
        masks = phew.prune_checkpoint(model, folder, density=DENSITY, out=folder / "pruned")
        seconds = time.perf_counter() - started
    num_walks = int(masks.info["num_walks"])
    num_hops = shape.num_hops * num_walks
    return Row(
        num_weights=masks.num_weights,
        largest_layer=shape.largest_layer,
        density=masks.density,
        num_walks=num_walks,
        num_hops=num_hops,
        num_passes=int(masks.info["num_passes"]),
        expected_passes=int(masks.info["expected_passes"]),
        seconds=seconds,
        hops_per_second=num_hops / seconds,
        memory_before=before,
        peak_memory=peak[0],
    )


def anonymous_memory() -> int:
    """Return the bytes of this process that do not come from files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise UnavailableError("this system does not tell files' memory from other memory.")


@contextmanager
def peak_of_anonymous_memory() -> Iterator[list[int]]:
    """Watch the memory in use fifty times per second, and keep the largest in a list of one."""
    peak = [anonymous_memory()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLING_SECONDS):
            peak[0] = max(peak[0], anonymous_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


NOTES = """\
- Llamas of random bfloat16 weights with one file per block, written just before, so that as much
  of them as memory holds is in the page cache; density 0.1, all of torch's threads, everything from
  the model on the meta device to the saved masks. Lookup embeddings are not pruned.
- *Passes*: how often the weights are read, one layer after the other, and how often the exact flow
  had foretold. *Peak MiB* is anonymous memory: what the process holds beside the page cache, of
  which *before* is what Python, torch and transformers take. The masks are one bit per weight."""


def tables(rows: Sequence[Row]) -> str:
    measured = table(
        (
            *("weights", "largest layer", "walks", "hops", "passes", "seconds"),
            *("million hops/s", "peak MiB", "before", "bits of masks, MiB"),
        ),
        [
            (
                f"{row.num_weights:,}",
                f"{row.largest_layer:,}",
                f"{row.num_walks:,}",
                f"{row.num_hops:,}",
                f"{row.num_passes} ({row.expected_passes})",
                significant(row.seconds),
                significant(row.hops_per_second / 1e6),
                mebibytes(row.peak_memory),
                mebibytes(row.memory_before),
                mebibytes(row.num_weights / 8),
            )
            for row in rows
        ],
        num_words=0,
    )
    parts = [measured, NOTES]
    if len(rows) > 2:
        weights = [row.num_weights for row in rows]
        layers = [row.largest_layer for row in rows]
        memory = [row.peak_memory - row.memory_before - row.num_weights / 8 for row in rows]
        fits = [
            ("seconds against weights", str(fit(weights, [row.seconds for row in rows]))),
            ("memory beyond masks against the largest layer", str(fit(layers, memory))),
        ]
        parts.insert(1, table(("fit", "exponent (95 %)"), fits))
    return "\n\n".join(parts)


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
