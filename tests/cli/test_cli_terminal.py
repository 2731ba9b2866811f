"""Commands fit a terminal of 80 columns."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_line import plain

import phew
from phew.models import NETWORKS


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["prune", "resnet20", "--density", "0.1"],
        ["prune", "lenet5", "--density", "0.05", "--sparse"],
        ["inspect", "resnet50"],
        ["compare", "lenet5", "--densities", "0.1", "--methods", "phew,magnitude"],
        ["models"],
        ["info"],
        ["--help"],
        ["prune", "--help"],
    ],
)
def test_output_fits_a_terminal_of_80_columns(arguments: list[str], tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="pseudo-terminals are of Unix")
    main, terminal = pty.openpty()
    with os.fdopen(main, "rb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "phew", *arguments],
            stdout=terminal,
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "80", "TERM": "xterm"},
        )
        os.close(terminal)
        text = b""
        # Linux ends a terminal that nobody writes to with an error.
        with contextlib.suppress(OSError):
            while part := output.read(1):
                text += part
    assert process.wait() == 0
    lines = plain(text.decode()).splitlines()
    assert len(lines) > 3
    assert max(map(len, lines)) <= 80


def test_repeated_blocks_are_one_line_in_a_terminal() -> None:
    torch.manual_seed(0)
    masks = phew.sample_masks(NETWORKS["resnet20"].build(), torch.zeros(1, 3, 32, 32), density=0.1)
    summary = masks.summary()
    lines = summary.table(width=200).splitlines()
    (folded,) = [line.split() for line in lines if line.startswith("stages.0.{0-2}")]
    rows = [row for row in summary.rows if row.parameter.startswith("stages.0.")]
    assert folded[:2] == ["stages.0.{0-2}.branch.{0,2}.0.weight", "x6"]
    assert folded[9] == f"{sum(row.num_kept for row in rows):,}"
    assert folded[10] == f"{sum(row.num_weights for row in rows):,}"
    assert lines[-1].split() == str(summary).splitlines()[-1].split()
