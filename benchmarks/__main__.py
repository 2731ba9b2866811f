"""Run all benchmarks, each with the arguments that are given here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("against_reference.py", "coverage.py")

for name in BENCHMARKS:
    subprocess.run([sys.executable, Path(__file__).with_name(name), *sys.argv[1:]], check=True)
