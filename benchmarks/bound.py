"""What is the least that a hop can take on this machine?

The shortest hop draws a random number that belongs to the walk, looks it up in one row of a table
that stays in cache, and marks one byte. No walk engine that draws its numbers by Philox is faster.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.machine import numbers_of_threads
from support.markdown import millions, significant, table
from support.suite import Benchmark

from phew._core import instruction_sets

SOURCE = Path(__file__).with_suffix(".cpp")
HEADERS = Path(__file__).parents[1] / "csrc"
FLAGS = {
    "baseline": (),
    "avx2": ("-mavx2",),
    "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"),
}
ROW_LENGTHS = (512, 1024, 4608)
NUM_HOPS = 200_000_000
QUICK_NUM_HOPS = 5_000_000


@dataclass(frozen=True)
class Row:
    """The rate of the best of five runs."""

    instruction_set: str
    num_threads: int
    row_length: int
    hops_per_second: float
    nanoseconds_per_hop: float


def measure(quick: bool) -> Iterator[Row]:
    sums = set()
    for instruction_set in instruction_sets():
        for row_length in ROW_LENGTHS[:1] if quick else ROW_LENGTHS:
            for num_threads in numbers_of_threads():
                num_hops = QUICK_NUM_HOPS if quick else NUM_HOPS
                rate, sum_of_draws = _run(instruction_set, "hop", num_threads, row_length, num_hops)
                sums.add(sum_of_draws)
                yield Row(instruction_set, num_threads, row_length, rate, 1e9 * num_threads / rate)
    assert len(sums) == 1, "the same walks must draw the same numbers"


def best_hops_per_second(instruction_set: str, num_threads: int, *, quick: bool) -> float:
    """Return the bound for rows of medium length."""
    num_hops = QUICK_NUM_HOPS if quick else NUM_HOPS
    return _run(instruction_set, "hop", num_threads, ROW_LENGTHS[1], num_hops)[0]


def bytes_read_per_second(num_threads: int, *, quick: bool) -> float:
    """Return the speed of reading memory from one end to the other."""
    return _run("baseline", "read", num_threads, 2**26 if quick else 2**30)[0]


def _run(instruction_set: str, *arguments: str | int) -> list[int]:
    command = [str(_compile(instruction_set)), *map(str, arguments)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(number) for number in result.stdout.split()]


@functools.cache
def _compile(instruction_set: str) -> Path:
    program = Path(_folder().name, instruction_set)
    compiler = ["c++", "-O3", "-std=c++17", "-pthread", f"-I{HEADERS}", *FLAGS[instruction_set]]
    subprocess.run([*compiler, SOURCE, "-o", program], check=True)
    return program


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed at the end of the process."""
    return tempfile.TemporaryDirectory(prefix="phew-bound-")


NOTES = """\
- Draws are those of phew, 64 bits of Philox4x32-10 per walk, several walks at a time where the
  instruction set allows. Each thread has a row, and marks, of its own. The best of five runs.
- Nothing is known of where walkers stand: who moves them from layer to layer pays that on top."""


def tables(rows: Sequence[Row]) -> str:
    header = ("instructions", "threads", "row length", "million hops/s", "ns per hop and thread")
    cells = [
        (
            row.instruction_set,
            f"{row.num_threads}",
            f"{row.row_length:,}",
            millions(row.hops_per_second),
            significant(row.nanoseconds_per_hop),
        )
        for row in rows
    ]
    return "\n\n".join((table(header, cells, num_words=1), NOTES))


if __name__ == "__main__":
    Benchmark(__file__, __doc__, measure, tables).main()
