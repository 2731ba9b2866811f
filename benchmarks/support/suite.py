"""The command line of a benchmark, and the output of its rows."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from support.machine import environment
from support.markdown import write_section


class UnavailableError(Exception):
    """Raised if a benchmark cannot be measured on this machine; the message names the lack."""


@dataclass(frozen=True)
class Benchmark:
    """A question and the functions that answer it.

    Attributes:
        file: The script of the benchmark, which gives it its name.
        question: The docstring of the script, whose first line is the question.
        measure: Yields rows, which are dataclasses. Its argument says whether to be quick: a few
            seconds, to see that it runs.
        tables: Puts all rows into words and tables.
        plot: Draws all rows into a figure of docs, when results are written.
    """

    file: str
    question: str | None
    measure: Callable[[bool], Iterable[Any]]
    tables: Callable[[Sequence[Any]], str]
    plot: Callable[[Sequence[Any]], None] | None = None

    @property
    def name(self) -> str:
        return Path(self.file).stem.removesuffix("_benchmark")

    def main(self) -> None:
        """Measure as the command line says, and print a line of JSON for each row, or tables."""
        question = (self.question or "").partition("\n")[0]
        arguments = add_arguments(argparse.ArgumentParser(description=question)).parse_args()
        machine = environment()
        rows = []
        try:
            for row in self.measure(arguments.quick):
                rows.append(row)
                if arguments.json:
                    line = {"benchmark": self.name, **asdict(row), "environment": machine}
                    print(json.dumps(line), flush=True)
        except UnavailableError as missing:
            # Nothing is written, so that results of another machine stay.
            print(f"{self.name} cannot be measured here: {missing}", file=sys.stderr)
            return
        setting = ", ".join(f"{key} {value}" for key, value in machine.items())
        command = f"`python -m benchmarks {self.name} --write-results`: {setting}."
        parts = [question, command, self.tables(rows)]
        if self.plot is not None:
            parts.append(f"![{question}](../docs/figures/{self.name}.svg)")
        body = "\n\n".join(parts)
        if not arguments.json:
            print(f"## {self.name}\n\n{body}\n")
        if arguments.write_results:
            write_section(self.name, body)
            if self.plot is not None:
                self.plot(rows)


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a few seconds, to see that it runs")
    size.add_argument("--write-results", action="store_true", help="put the tables in RESULTS.md")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each row, not tables"
    )
    return parser
