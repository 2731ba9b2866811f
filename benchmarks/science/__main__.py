"""Test the claims of the PHEW paper; say for each whether it holds, with the figures."""

from __future__ import annotations

import sys
from pathlib import Path

# As `python -m benchmarks.science`, the current directory comes first, and in a clone phew there
# has no extension.
sys.path[0] = str(Path(__file__).parents[1])

from science.run import main  # noqa: E402

main()
