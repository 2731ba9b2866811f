"""How do time and memory grow with weights, with density and with threads?

Users' call of `phew.sample_masks` is timed, capture included. The networks that grow are multilayer
perceptrons of one depth, with float32 weights.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from support.fits import Fit, fit
from support.graphs import build_network
from support.machine import peak_memory
from support.markdown import significant, table
from support.methods import run_engine
from support.processes import in_fresh_process
from support.suite import Benchmark
from support.timed_engine import checksum
from torch import Tensor, nn

import phew
from phew.graph import WeightedLink

NUM_LAYERS = 8
DENSITY = 0.1

NUMS_WEIGHTS = tuple(10 ** (half / 2) for half in range(10, 19))
DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
DENSITIES_NETWORK = "vgg19_bn"

QUICK_NUMS_WEIGHTS = NUMS_WEIGHTS[:3]
QUICK_DENSITIES = (0.1, 0.03, 0.01)

MAX_REPETITIONS = 5
ENOUGH_SECONDS = 10.0

TABLE_ENTRY_BYTES = 8


def width_of(num_weights: float) -> int:
    """Return the least width of a multilayer perceptron with at least so many weights."""
    return math.ceil(math.sqrt(num_weights / NUM_LAYERS))


THREADS_NETWORKS = (DENSITIES_NETWORK, "resnet50", width_of(1e8))
QUICK_THREADS_NETWORKS = ("lenet5",)


@dataclass(frozen=True)
class Row:
    """The medians of up to five calls.

    Attributes:
        largest_link: Number of edges of the largest link.
        cpu_seconds: The CPU time of all threads, which other work on the machine hardly disturbs.
        peak_memory: The most bytes in use in the first call, beyond those in use with the network
            built and one byte per weight for the masks.
    """

    network: str
    density: float
    num_threads: int
    num_weights: int
    largest_link: int
    num_walks: int
    seconds: float
    capture_seconds: float
    cpu_seconds: float
    peak_memory: int


@dataclass(frozen=True)
class Threads:
    """The medians of five calls, made in turn with those with other numbers of threads.

    Attributes:
        digest: A checksum of the masks.
        speed_up: The seconds of one thread over these.
        speed_up_without_capture: The speed-up of the part that runs in threads.
    """

    network: str
    num_threads: int
    num_weights: int
    digest: int
    seconds: float
    capture_seconds: float
    speed_up: float
    speed_up_without_capture: float


def measure(quick: bool) -> Iterator[Row | Threads]:
    for num_weights in QUICK_NUMS_WEIGHTS if quick else NUMS_WEIGHTS:
        yield in_fresh_process(time_network, width_of(num_weights), DENSITY)
    for density in QUICK_DENSITIES if quick else DENSITIES:
        yield in_fresh_process(time_network, DENSITIES_NETWORK, density)
    for network in QUICK_THREADS_NETWORKS if quick else THREADS_NETWORKS:
        yield from in_fresh_process(time_threads, network)


def time_network(network: str | int, density: float) -> Row:
    """Time the masks of a network, given by its name or width, in a process of its own."""
    model, example_input = build(network)
    started, cpu_started = time.perf_counter(), time.process_time()
    before = peak_memory()
    run = run_engine(model, example_input, density)
    cpu_seconds = [time.process_time() - cpu_started]
    peak = peak_memory() - before
    num_weights = sum(mask.numel() for mask in run.masks.values())
    num_kept = sum(int(mask.count_nonzero()) for mask in run.masks.values())
    # The last walk may visit more weights than are missing, at most one per layer.
    assert 0 <= num_kept - round(density * num_weights) < len(run.masks), (network, num_kept)
    runs = [run._replace(masks={})]
    del run  # frees its masks, which are as large as those of the next run
    while len(runs) < MAX_REPETITIONS and time.perf_counter() - started < ENOUGH_SECONDS:
        cpu_started = time.process_time()
        runs.append(run_engine(model, example_input, density)._replace(masks={}))
        cpu_seconds.append(time.process_time() - cpu_started)
    links = phew.capture(model, example_input).links
    return Row(
        network=name_of(network),
        density=density,
        num_threads=torch.get_num_threads(),
        num_weights=num_weights,
        largest_link=max(math.prod(link.shape) for link in links if isinstance(link, WeightedLink)),
        num_walks=runs[0].num_walks,
        seconds=statistics.median(run.seconds for run in runs),
        capture_seconds=statistics.median(run.capture_seconds for run in runs),
        cpu_seconds=statistics.median(cpu_seconds),
        peak_memory=peak - num_weights,
    )


def time_threads(network: str | int) -> list[Threads]:
    """Time masks with each number of threads, in a process of its own."""
    model, example_input = build(network)
    nums_threads = powers_of_two(torch.get_num_threads())
    digests = set()
    runs: dict[int, list[tuple[float, float]]] = {number: [] for number in nums_threads}
    # Numbers of threads take turns, so that other work on the machine disturbs all of them alike.
    for _ in range(MAX_REPETITIONS):
        for number in nums_threads:
            run = run_engine(model, example_input, DENSITY, num_threads=number)
            runs[number].append((run.seconds, run.capture_seconds))
            digests.add(checksum(run.masks))
    (digest,) = digests
    medians = {
        number: [statistics.median(each) for each in zip(*times, strict=True)]
        for number, times in runs.items()
    }
    one_seconds, one_capture_seconds = medians[1]
    return [
        Threads(
            network=name_of(network),
            num_threads=number,
            num_weights=sum(mask.numel() for mask in run.masks.values()),
            digest=digest,
            seconds=seconds,
            capture_seconds=capture_seconds,
            speed_up=one_seconds / seconds,
            speed_up_without_capture=(one_seconds - one_capture_seconds)
            / (seconds - capture_seconds),
        )
        for number, (seconds, capture_seconds) in medians.items()
    ]


def build(network: str | int) -> tuple[nn.Module, Tensor]:
    """Build one of phew's networks, or a perceptron of a width, in a process that is warmed up."""
    run_engine(*build_network("lenet5"), 0.001)  # a first call imports and compiles
    if isinstance(network, str):
        return build_network(network)
    torch.manual_seed(0)
    layers = [
        layer
        for _ in range(NUM_LAYERS)
        for layer in (nn.Linear(network, network, bias=False), nn.ReLU())
    ]
    return nn.Sequential(*layers), torch.zeros(1, network)


def name_of(network: str | int) -> str:
    return network if isinstance(network, str) else f"perceptron of width {network:,}"


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4, ... below a number, and the number."""
    return [*(2**exponent for exponent in range((most - 1).bit_length())), most]


PLOTTED_FIT = "seconds against weights, from 10^7 weights"


def fits_of(growing: Sequence[Row], denser: Sequence[Row]) -> dict[str, Fit]:
    """Fit time against weights and walks where there are at least three sizes, by a name."""
    fits = {}
    for over, least in (("all", 0.0), ("from 10^6", 1e6), ("from 10^7", 1e7)):
        rows = [row for row in growing if row.num_weights >= least]
        if len(rows) > 2:  # a line through two points has no error
            weights = [row.num_weights for row in rows]
            for name, seconds in seconds_of(rows).items():
                fits[f"{name} against weights, {over} weights"] = fit(weights, seconds)
    for name, seconds in seconds_of(denser).items():
        walks = [row.num_walks for row in denser]
        fits[f"{name} against walks, {DENSITIES_NETWORK}"] = fit(walks, seconds)
    return fits


def seconds_of(rows: Sequence[Row]) -> dict[str, list[float]]:
    return {
        "seconds": [row.seconds for row in rows],
        "CPU seconds": [row.cpu_seconds for row in rows],
    }


def growing_and_denser(rows: Sequence[Row | Threads]) -> tuple[list[Row], list[Row]]:
    """Return the rows of networks that grow, and those of one network at several densities."""
    sizes = [row for row in rows if isinstance(row, Row)]
    return (
        [row for row in sizes if row.network != DENSITIES_NETWORK],
        [row for row in sizes if row.network == DENSITIES_NETWORK],
    )


def size_table(rows: Sequence[Row]) -> str:
    header = (
        *("network", "weights", "density", "walks", "seconds", "of it capture", "CPU seconds"),
        *(
            "CPU ns per weight",
            "CPU us per walk",
            "peak MiB",
            "bytes per weight",
            "largest link's tables MiB",
        ),
    )
    cells = [
        (
            row.network,
            f"{row.num_weights:,}",
            f"{row.density:g}",
            f"{row.num_walks:,}",
            significant(row.seconds),
            significant(row.capture_seconds),
            significant(row.cpu_seconds),
            significant(1e9 * row.cpu_seconds / row.num_weights),
            significant(1e6 * row.cpu_seconds / row.num_walks),
            significant(row.peak_memory / 2**20),
            f"{row.peak_memory / row.num_weights:.2f}",
            significant(TABLE_ENTRY_BYTES * row.largest_link / 2**20),
        )
        for row in rows
    ]
    return table(header, cells, num_words=1)


def fits_table(fits: dict[str, Fit]) -> str:
    return table(("fit", "exponent (95 %)"), [(name, str(each)) for name, each in fits.items()])


def threads_table(rows: Sequence[Threads]) -> str:
    header = (
        *("network", "weights", "threads", "seconds", "of it capture", "speed-up"),
        "without capture",
    )
    cells = [
        (
            row.network,
            f"{row.num_weights:,}",
            f"{row.num_threads}",
            significant(row.seconds),
            significant(row.capture_seconds),
            f"{row.speed_up:.2f}",
            f"{row.speed_up_without_capture:.2f}",
        )
        for row in rows
    ]
    return table(header, cells, num_words=1)


NOTES = f"""\
- Perceptrons are {NUM_LAYERS} linear layers of one width, without biases, in float32. Each row is a
  process of its own: medians of up to {MAX_REPETITIONS} calls, none begun after
  {ENOUGH_SECONDS:g} seconds.
- *CPU* is the time of all threads together, which other work on the machine hardly disturbs.
- *Peak MiB*, and *bytes per weight*, is what the first call holds at most beyond the network and
  one byte per weight for the masks. *Largest link's tables* is what its cumulative masses would be
  all at once, {TABLE_ENTRY_BYTES} bytes per edge; the engine holds those of a few units at a time.
- An exponent is the slope of least squares in logarithms. What a call takes whatever the size, as
  capture does, makes it less where networks are small; what a density takes whatever the walks,
  tables above all, makes it less on {DENSITIES_NETWORK}. Of networks that grow, walks are in
  proportion to weights, so that the exponents are those against walks too."""

THREADS_NOTES = f"""\
Density {DENSITY}, medians of {MAX_REPETITIONS} calls, the numbers of threads in turn. All find the
same masks."""


def tables(rows: Sequence[Row | Threads]) -> str:
    growing, denser = growing_and_denser(rows)
    parts = (
        size_table([*growing, *denser]),
        NOTES,
        fits_table(fits_of(growing, denser)),
        threads_table([row for row in rows if isinstance(row, Threads)]),
        THREADS_NOTES,
    )
    return "\n\n".join(parts)


def plot(rows: Sequence[Row | Threads]) -> None:
    from support import plots

    growing, denser = growing_and_denser(rows)
    weights = [row.num_weights for row in growing]
    figure, (time_panel, memory_panel, density_panel) = plots.new_figure(3)

    line = fits_of(growing, denser)[PLOTTED_FIT]
    time_panel.loglog(weights, [row.seconds for row in growing], "o")
    fitted = [line.factor * number**line.exponent for number in weights]
    time_panel.loglog(weights, fitted, "--", label=f"exponent {line.exponent:.2f}")
    time_panel.set(title=f"Density {DENSITY}", xlabel="weights", ylabel="seconds")
    time_panel.legend()

    memory_panel.loglog(weights, [row.peak_memory / 2**20 for row in growing], "o")
    memory_panel.loglog(weights, np.divide(weights, 2**20), "--", label="1 byte per weight")
    memory_panel.set(
        title="Peak beyond weights and masks", xlabel="weights", ylabel="memory in MiB"
    )
    memory_panel.legend()

    density_panel.loglog([row.density for row in denser], [row.seconds for row in denser], "o-")
    density_panel.set(title=DENSITIES_NETWORK, xlabel="density", ylabel="seconds")
    plots.save(figure, "scaling")


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables, plot).main()
