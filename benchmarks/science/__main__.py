"""Test the claims of the PHEW paper; say for each whether it holds, with the figures."""

from __future__ import annotations

import sys
from pathlib import Path

# `python -m benchmarks.science` puts the current folder first on the path, where a clone has phew
# without its extension. The folder of the benchmarks replaces it, as when one of them is run.
sys.path[0] = str(Path(__file__).parents[1])

from science.run import main  # noqa: E402

main()
