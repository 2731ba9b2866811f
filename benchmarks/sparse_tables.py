"""Rows of the benchmark of sparse networks, as tables and as a figure of crossing points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rivals.sparse_inference import BLOCK, DENSE, PHEW, PHEW_COMPILED, PHEW_SPARSE
from rivals.sparse_training import HELD
from support.interleaved import MAX_ROUNDS, MIN_ROUNDS, MIN_TURN_SECONDS
from support.markdown import significant, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYER, NETWORK, TRAINING = "layer", "network", "training"


@dataclass(frozen=True)
class Row:
    """A way to run or to train something, and how much faster than dense float32 it is.

    Attributes:
        kind: "layer", "network" or "training".
        subject: The layer or network, with its optimizer where it is trained.
        density: The share of its weights that are kept.
        operations: The share of its operations that are left, where masks are PHEW's.
        way: The way, by its name.
        version: The version of its distribution; empty for torch's and phew's own.
        failure: The reason why there are no numbers, if there are none.
        seconds: The median seconds of a call.
        gain: The median of the ratio of dense seconds to these, over rounds in turns.
        error: The largest difference from the dense result over its largest number. Of training,
            the difference of the loss after a step from that of held training, over the loss.
    """

    kind: str
    subject: str
    batch: int
    density: float
    num_threads: int
    operations: float | None = None
    way: str = DENSE
    version: str = ""
    failure: str | None = None
    seconds: float = 0.0
    gain: float = 0.0
    error: float = 0.0


def crossing(gains: Iterable[tuple[float, float]]) -> float | None:
    """Find the density below which a way is faster than dense.

    Args:
        gains: Pairs of density and gain.

    Returns:
        The density, between those measured on a line of logarithms; the largest that was measured
        if the way is faster at all, and None if it is slower at the smallest.
    """
    points = sorted(gains)
    faster = list(itertools.takewhile(lambda point: point[1] >= 1, points))
    if not faster:
        return None
    if len(faster) == len(points):
        return points[-1][0]
    (low, high_gain), (high, low_gain) = points[len(faster) - 1], points[len(faster)]
    share = math.log(high_gain) / math.log(high_gain / low_gain)
    return math.exp(math.log(low) + share * math.log(high / low))


def layer_table(rows: Sequence[Row]) -> str:
    """Put the gains of layers into a table of a column for each density."""
    layers = [row for row in rows if row.kind == LAYER]
    densities = sorted({row.density for row in layers}, reverse=True)
    gains = {(_place(row), row.density, row.way): row.gain for row in layers}
    cells = []
    for place in dict.fromkeys(map(_place, layers)):
        sparse = [(each, gains[place, each, PHEW_SPARSE]) for each in densities]
        found = crossing(sparse)
        cells.append(
            (
                *map(str, place),
                *(
                    f"{significant(gains[place, each, PHEW])} ({significant(gain)})"
                    for each, gain in sparse
                ),
                "never" if found is None else f"{found:.1%}",
            )
        )
    header = ("layer", "threads", "batch", *(f"{each:.0%}" for each in densities), "crossing")
    return table(header, cells, num_words=1)


def way_table(rows: Sequence[Row]) -> str:
    """Put the gains into a table of a column for each way."""
    ways = [way for way in dict.fromkeys(row.way for row in rows) if way != DENSE]
    gains = {(_place(row), row.density, row.way): row for row in rows}
    cells = []
    for place, density in dict.fromkeys((_place(row), row.density) for row in rows):
        dense = gains[place, density, DENSE]
        measured = [gains.get((place, density, way)) for way in ways]
        cells.append(
            (
                *map(str, place),
                f"{density:.0%}",
                "" if dense.operations is None else f"{dense.operations:.0%}",
                significant(1e3 * dense.seconds),
                *(
                    "" if row is None or row.failure is not None else significant(row.gain)
                    for row in measured
                ),
            )
        )
    header = ("what", "threads", "batch", "weights", "operations", "dense ms", *ways)
    return table(header, cells, num_words=1)


def _place(row: Row) -> tuple[str, int, int]:
    return row.subject, row.num_threads, row.batch


NOTES = f"""\
- Numbers are gains: the seconds of dense float32 in PyTorch over those of a way, the median over
  {MIN_ROUNDS} to {MAX_ROUNDS} rounds in one process. In a round each way has a turn of
  {1e3 * MIN_TURN_SECONDS:g} ms or one call; the order alternates. Less than 1 is slower.
- *{PHEW}* is what `phew.to_sparse` makes by default: each layer runs sparse loops where they are
  faster. *{PHEW_COMPILED}* is `torch.compile` of that, which fuses normalisations and activations.
  In the table of layers, the gain of the sparse loops alone stands in parentheses, and *crossing*
  is the density below which these are faster than dense.
- Weights of layers are kept evenly at random, those of networks as `phew.sample_masks` keeps them.
  *Operations* is the share of multiplications that is left in the masked network. ViT-B/16 is
  timm's.
- A step of training is everything: gradients set to none, forward, loss, backward, update. *{HELD}*
  is the dense network under `masks.apply`. Of the MLP all four layers are pruned.
- torch's CSR has indices of 32 bits, and in training a product, its transpose and `sampled_addmm`.
  Its BSR has blocks of {BLOCK[0]} x {BLOCK[1]}. int8 is `quantize_dynamic`, of linear layers.
  ONNX Runtime, OpenVINO (float32) and DeepSparse read the network with its zeros from an ONNX file.
- Results equal the dense ones: float32 to 1e-4 of the largest output, bfloat16 to 0.1, int8 to 0.2;
  losses after a step to 1e-4."""


def tables(rows: Sequence[Row]) -> str:
    parts = ["Layers, inference:", layer_table(rows)]
    detailed = {
        (_place(row), row.density)
        for row in rows
        if row.kind == LAYER and row.way not in (DENSE, PHEW, PHEW_SPARSE)
    }
    compared = [row for row in rows if row.kind == LAYER and (_place(row), row.density) in detailed]
    for title, chosen in (
        ("Layers, beside others:", compared),
        ("Networks, inference:", [row for row in rows if row.kind == NETWORK]),
        ("Training steps:", [row for row in rows if row.kind == TRAINING]),
    ):
        if chosen:
            parts += [title, way_table(chosen)]
    versions = dict.fromkeys(f"{row.way} {row.version}" for row in rows if row.version)
    if versions:
        parts.append(f"Versions: {', '.join(versions)}.")
    failures = [f"- {text}" for text in dict.fromkeys(map(_failure, rows)) if text]
    if failures:
        parts.append("Without numbers:\n\n" + "\n".join(failures))
    return "\n\n".join((*parts, NOTES))


def _failure(row: Row) -> str:
    if row.failure is None:
        return ""
    if row.failure == "not installed":
        return f"{row.way}: not installed."
    return f"{row.way}, {row.subject}: {row.failure}."


def plot(rows: Sequence[Row]) -> None:
    """Draw gains of the sparse loops against density, and where they cross those of dense."""
    from support import plots

    layers = [row for row in rows if row.kind == LAYER and row.way == PHEW_SPARSE]
    first = layers[0].subject
    numbers = sorted({row.num_threads for row in layers})
    panels: list[tuple[str, list[Row], Callable[[Row], str]]] = [
        (
            f"{first}, threads: {number}",
            [row for row in layers if row.subject == first and row.num_threads == number],
            lambda row: f"batch {row.batch}",
        )
        for number in numbers
    ]
    panels.append(
        (
            "batch 1, threads: 1",
            [
                row
                for row in layers
                if row.subject != first and row.num_threads == 1 and row.batch == 1
            ],
            lambda row: row.subject,
        )
    )
    figure, all_axes = plots.new_figure(len(panels), height=4.5, share_axes=True)
    for axes, (title, chosen, label) in zip(all_axes, panels, strict=True):
        _draw(axes, chosen, label)
        axes.set_title(title)
    all_axes[0].set_ylabel("times as fast as dense")
    plots.save(figure, "sparse")


def _draw(axes: Axes, rows: Sequence[Row], label: Callable[[Row], str]) -> None:
    axes.axhline(1, color="black", linewidth=0.8)
    for name in dict.fromkeys(map(label, rows)):
        points = [(row.density, row.gain) for row in rows if label(row) == name]
        (line,) = axes.plot(*zip(*points, strict=True), marker=".", label=name)
        found = crossing(points)
        if found is not None and found < max(points)[0]:
            axes.plot([found], [1], marker="o", fillstyle="none", color=line.get_color())
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("density")
    axes.legend(fontsize="x-small")
