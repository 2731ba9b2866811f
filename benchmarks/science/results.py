"""The file of results: a line of JSON for each case, with the values of its seeds in lists.

This line holds the results of two jobs, which differ in their seeds alone:

    {"kind": "training", "data": "digits", "network": "mlp", "method": "PHEW", "density": 0.1,
     "num_epochs": 30, "seed": [0, 1], "accuracy": [0.97, 0.96], "loss": [0.08, 0.09]}

Fields of a job that have their default value are left out. A run appends a line for each job that
is done. When it ends, it merges the lines of each case.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from science.jobs import Job, job_of, row_of


class Results:
    """Rows in a file, one for each job, from which a run that was killed goes on."""

    def __init__(self, path: Path) -> None:
        """Read the rows of the file, and remove a last line that was cut off."""
        self._path = path
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        self.rows = [row for line in whole.splitlines() for row in _rows_of(json.loads(line))]

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs that are not done."""
        done = {job_of(row) for row in self.rows}
        return [job for job in jobs if job not in done]

    def rows_of(self, jobs: Iterable[Job]) -> list[dict[str, Any]]:
        """Return the rows of these jobs, with all of the fields that a job has now."""
        wanted = set(jobs)
        found = ((job_of(row), row) for row in self.rows)
        return [row_of(job) | row for job, row in found if job in wanted]

    def add(self, job: Job, result: dict[str, Any]) -> None:
        """Append the row of a job."""
        row = row_of(job) | result
        with self._path.open("a") as file:
            file.write(_line_of([row]))
        self.rows.append(row)

    def merge(self) -> None:
        """Write the file anew, with one line for each case."""
        by_case: dict[tuple[tuple[str, Any], ...], list[dict[str, Any]]] = defaultdict(list)
        for row in self.rows:
            by_case[tuple(_case_of(row).items())].append(row)
        merged = self._path.with_suffix(".merged")
        merged.write_text("".join(map(_line_of, by_case.values())))
        merged.replace(self._path)


def _rows_of(line: dict[str, Any]) -> list[dict[str, Any]]:
    lists = {key: value for key, value in line.items() if isinstance(value, list)}
    assert lists, f"a line of results has no lists of values: {line}"
    return [
        line | dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)
    ]


def _line_of(rows: list[dict[str, Any]]) -> str:
    """Return the line of the rows of one case, in the order of their seeds."""
    case = _case_of(rows[0])
    rows = sorted(rows, key=lambda row: row.get("seed", 0))
    of_job = row_of(job_of(rows[0]))
    listed = [key for key in rows[0] if key == "seed" or key not in of_job]
    lists = {key: [row[key] for row in rows] for key in listed}
    return json.dumps(case | lists, separators=(",", ":")) + "\n"


def _case_of(row: dict[str, Any]) -> dict[str, Any]:
    """Return the kind and the fields of a job, without its seed and default values."""
    job = job_of(row)
    default_of = {field.name: field.default for field in fields(job)}
    return {
        key: value
        for key, value in row_of(job).items()
        if key != "seed" and value != default_of.get(key, MISSING)
    }
