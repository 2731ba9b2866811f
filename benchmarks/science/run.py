"""The command line: run what is missing of a scale, then judge the claims."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from support.processes import in_parallel
from support.suite import UnavailableError

from phew.support.progress import progress_bar
from science import scales
from science.claims import judge
from science.networks import PAPER_NETWORKS
from science.results import Results

RESULTS = Path(__file__).parents[1] / "results" / "science.jsonl"


def main() -> None:
    """Do as the command line says."""
    arguments = _parse()
    scale = {"quick": scales.QUICK, "tiny": scales.TINY}.get(arguments.scale, scales.FULL)
    if arguments.data is not None:
        scale = scales.paper_scale(arguments.data)
    with tempfile.TemporaryDirectory() as scratch:
        path = arguments.results or (
            RESULTS if arguments.scale == "full" else Path(scratch, "science.jsonl")
        )
        try:
            results = Results(path)
            _run(results, scale, arguments.folder, arguments.workers)
        except (UnavailableError, OSError) as error:
            sys.exit(f"science: {error}")
        rows = results.rows_of([*scale.parallel_jobs(), *scale.jobs_alone()])
        claims = judge(rows)
        for claim in claims:
            print(f"\n{claim}")
        if arguments.write_results:
            from science.document import write  # needs matplotlib

            write(rows, claims)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.science",
        description="Test the claims of the PHEW paper; say for each whether it holds.",
    )
    size = parser.add_mutually_exclusive_group()
    for name, text in (
        ("quick", "what takes ten minutes on two cores"),
        ("tiny", "half a minute, to see that it runs"),
    ):
        size.add_argument(
            f"--{name}", dest="scale", action="store_const", const=name, default="full", help=text
        )
    size.add_argument(
        "--data",
        choices=PAPER_NETWORKS,
        help="train on this data set instead, read from --folder, as the paper does",
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("data"), help="where data sets are on disk"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help=f"lines of JSON, of which none is done again; by default {RESULTS.name} beside the "
        "results of benchmarks, or none if --quick or --tiny",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="processes, of one thread each"
    )
    parser.add_argument(
        "--write-results", action="store_true", help="write docs/science_tables.md and draw figures"
    )
    return parser.parse_args()


def _run(results: Results, scale: scales.Scale, folder: Path, num_workers: int) -> None:
    jobs = results.missing(scale.parallel_jobs())
    with progress_bar("measuring", shown=sys.stderr.isatty()) as report:
        done = in_parallel([(job.run, [folder]) for job in jobs], num_workers)
        for number, (index, result) in enumerate(done, start=1):
            results.add(jobs[index], result)
            report(number / len(jobs))
    for job in results.missing(scale.jobs_alone()):
        results.add(job, job.run(folder))
    results.merge()
