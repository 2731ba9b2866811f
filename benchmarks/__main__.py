"""Run all benchmarks, or those that are named, each in a process of its own."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SCRIPTS = {"sparse": "sparse_benchmark"}
"""Scripts whose own name would be that of a package on PyPI."""

BENCHMARKS = (
    *("bound", "hops", "edge_tables", "end_to_end", "scaling", "large", "ranks", "forecast"),
    *("peers", "gpu", "model_coverage", "sparse", "hold", "rescaling"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; by default all"
    )
    # These options repeat those of support/suite.py. It imports phew, which `python -m` would look
    # for in the current folder first, where a clone has phew without its extension.
    parser.add_argument("--quick", action="store_true", help="a few seconds each")
    parser.add_argument("--write-results", action="store_true", help="put the tables in RESULTS.md")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in BENCHMARKS:
            parser.error(f"NAME must be one of {', '.join(BENCHMARKS)}, got {name}.")
    flags = [argument for argument in sys.argv[1:] if argument not in arguments.names]
    for name in arguments.names or BENCHMARKS:
        script = Path(__file__).with_name(f"{SCRIPTS.get(name, name)}.py")
        subprocess.run([sys.executable, script, *flags], check=True)


if __name__ == "__main__":
    main()
