"""Which models can be captured and pruned, and what does it take beside a forward pass?

The models are those of `zoo`: each is captured, pruned, and run forward and backward afterwards.
Then well-known models are captured at full size, each in a process of its own.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

from support.markdown import significant, table
from support.suite import Benchmark
from zoo.covered import Row, cover
from zoo.full_size import FULL_SIZE, Size, measure_size
from zoo.models import ZOO

QUICK = (
    *("tv/shufflenet_v2_x0_5", "timm/levit_128s", "hf/bert", "hf/llama"),
    *("misc/lstmcell_loop", "misc/unet"),
)

UNREACHED = {
    "tvdet/maskrcnn_resnet50_fpn": "scores of proposals only choose among them, and what is of "
    "the background's class is dropped",
    "tvdet/ssdlite320_mobilenet_v3_large": "scores of the background's class are dropped",
}
"""The reasons why weights of these models are on no path."""


def shares(rows: Sequence[Row]) -> str:
    """Put into words how many models failed, were approximated and are reached everywhere."""
    failed = [row for row in rows if row.failure]
    captured = [row for row in rows if not row.failure]
    approximated = [row for row in captured if row.approximations]
    without_gradient = [f"`{row.model}`" for row in captured if row.without_gradient]
    reached = [row for row in captured if not row.unreached]

    def share(some: Sequence[Row]) -> str:
        return f"{len(some)} ({len(some) / len(rows):.1%})"

    lines = [
        f"- {len(rows)} models, {len(failed)} failed.",
        *(f"  - `{row.model}`: {row.failure}" for row in failed),
        f"- {share(approximated)} with an approximated operation.",
        *(f"  - `{row.model}`: {each}." for row in approximated for each in row.approximations),
        f"- {share(reached)} with every prunable weight on a path.",
        *(f"  - {_unreached(row)}" for row in captured if row.unreached),
    ]
    if without_gradient:
        names = ", ".join(without_gradient)
        lines.append(f"- {names}: no output requires a gradient, only the forward pass was run.")
    return "\n".join(lines)


def _unreached(row: Row) -> str:
    counts = [f"{count:,} of `{name}`" for name, count in (row.unreached or {}).items()]
    return f"`{row.model}`: not {', '.join(counts)}: {UNREACHED.get(row.model, 'not explained')}."


def zoo_table(rows: Sequence[Row]) -> str:
    header = (
        *("model", "approximated", "weights", "weighted links", "parameters not reached"),
        *("capture seconds", "forward seconds", "prune seconds"),
    )
    cells = [
        (
            row.model,
            "failed" if row.failure else str(len(row.approximations) or ""),
            f"{row.num_weights:,}",
            f"{row.num_links:,}",
            str(len(row.unreached or {}) or ""),
            significant(row.capture_seconds),
            significant(row.forward_seconds),
            significant(row.prune_seconds),
        )
        for row in rows
    ]
    return table(header, cells)


def full_size_table(sizes: Sequence[Size]) -> str:
    header = (
        *("model", "input", "weights", "weights MiB", "weighted links", "capture seconds"),
        *("forward seconds", "ratio", "peak MiB", "of it capture"),
    )
    cells = [
        (
            *(size.model, size.input, f"{size.num_weights:,}"),
            f"{size.weight_bytes / 2**20:,.0f}",
            f"{size.num_links:,}",
            significant(size.capture_seconds),
            significant(size.forward_seconds) if size.forward_seconds else "",
            significant(size.capture_seconds / size.forward_seconds)
            if size.forward_seconds
            else "",
            f"{size.peak_memory / 2**20:,.0f}",
            f"{size.capture_memory / 2**20:,.0f}",
        )
        for size in sizes
    ]
    return table(header, cells)


NOTES = """\
- Masks are sampled at densities 0.1 and 0.02 in one call and applied in turn; a forward and a
  backward pass, from the sum of all outputs, follows each. *Prune seconds* is the sampling of both
  and applying the first.
- *Capture* and *forward* (eager, evaluation, no gradients) are medians of three after one more."""

FULL_SIZE_NOTES = """\
- Each in a process of its own. *Ratio* is capture over forward. *Peak MiB* is what the process held
  at most after the first capture, *of it capture* by how much that capture raised it: building the
  model and running it come before.
- A model on the meta device has no memory for its weights, and no forward pass."""


def tables(measured: Sequence[Row | Size]) -> str:
    rows = [each for each in measured if isinstance(each, Row)]
    sizes = [each for each in measured if isinstance(each, Size)]
    parts = [shares(rows), zoo_table(rows), NOTES]
    if sizes:
        parts += [full_size_table(sizes), FULL_SIZE_NOTES]
    return "\n\n".join(parts)


def measure(quick: bool) -> Iterator[Row | Size]:
    # These come first, because a process inherits the peak memory of the one that starts it.
    for name in () if quick else FULL_SIZE:
        yield measure_size(name)
    cover("misc/mlp")  # warms up: a first capture imports and compiles
    for name in QUICK if quick else ZOO:
        yield cover(name)
        gc.collect()


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
