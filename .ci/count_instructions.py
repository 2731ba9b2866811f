#!/usr/bin/env python3
"""Compare the instructions that fixed runs of the C++ code take with recorded numbers.

Unlike seconds they do not depend on what else a machine does. They depend on the compiler, so what
another one made is not compared. `--record` writes the numbers anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

RECORD = Path(__file__).with_suffix(".json")
RUNS = {
    "measure": "start",
    "tables": "measure",
    "hops": "measure",
    "all": "measure",
    "product": "layers",
    "transposed": "layers",
    "sampled": "layers",
}
"""A run, and the run whose instructions are subtracted from it."""
INSTRUCTION_SETS = ("baseline", "avx2")
TOLERANCE = 0.05


def count(program: str, run: str, instruction_set: str) -> int:
    """Count the instructions of a run by valgrind, which knows no AVX-512."""
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [
                *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"),
                *(program, run),
            ],
            env={**os.environ, "PHEW_INSTRUCTION_SET": instruction_set},
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"Collected : (\d+)", result.stderr)
    if result.returncode or not found:
        sys.exit(f"valgrind {program} {run} failed:\n{result.stderr}")
    return int(found[1])


def main() -> None:
    """Count, and record or compare."""
    program, *flags = sys.argv[1:]
    version = subprocess.run(["c++", "--version"], capture_output=True, text=True, check=True)
    compiler = version.stdout.splitlines()[0]
    counts = {}
    for instruction_set in INSTRUCTION_SETS:
        found = {run: count(program, run, instruction_set) for run in {*RUNS, *RUNS.values()}}
        for run, before in RUNS.items():
            counts[f"{run}, {instruction_set}"] = found[run] - found[before]
    if flags == ["--record"]:
        text = json.dumps({"compiler": compiler, "counts": counts}, indent=2)
        RECORD.write_text(text + "\n")
        return
    recorded = json.loads(RECORD.read_text())
    if compiler != recorded["compiler"]:
        print(f"Recorded for {recorded['compiler']}, not compared with {compiler}.")
        return
    changed = False
    for name, number in counts.items():
        ratio = number / recorded["counts"][name]
        print(f"{name}: {number:,} instructions, {ratio - 1:+.1%}")
        changed |= abs(ratio - 1) > TOLERANCE
    if changed:
        sys.exit(
            f"Instructions differ by more than {TOLERANCE:.0%} from {RECORD.name}. If that is "
            f"meant, run {sys.argv[0]} {program} --record."
        )


if __name__ == "__main__":
    main()
