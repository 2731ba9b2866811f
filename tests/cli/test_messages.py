"""Errors of the command line: one line, or the traceback where that is asked for."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from phew_cli import app

WRONG = ("prune", "lenet5", "--density", "2")


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PHEW_DEBUG", raising=False)
    result = CliRunner().invoke(app, WRONG)
    assert result.exit_code == 2
    assert result.stderr == "phew: density must be in (0, 1], got 2.0.\n"


def test_phew_debug_shows_the_traceback() -> None:
    result = CliRunner().invoke(app, WRONG, env={"PHEW_DEBUG": "1"})
    assert isinstance(result.exception, ValueError)
    assert result.stderr == ""


def test_help_tells_of_phew_debug() -> None:
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"})
    assert "PHEW_DEBUG=1" in result.stdout
