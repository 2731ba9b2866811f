"""The file of results: a line of JSON for each job that is done."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from science.jobs import Job, job_of, row_of


class Results:
    """Rows in a file, from which a run that was killed goes on."""

    def __init__(self, path: Path) -> None:
        """Read the rows of the file, and remove a last line that was cut off."""
        self._path = path
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]

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
        """Append a row."""
        row = row_of(job) | result
        line = json.dumps(row) + "\n"
        with self._path.open("a") as file:
            file.write(line)
        self.rows.append(row)
