"""Runs the command line in this process."""

from __future__ import annotations

from rich.text import Text
from typer.testing import CliRunner, Result

from phew_cli import app


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "120"}, prog_name="phew")


def plain(text: str) -> str:
    """Remove the colours that some continuous integration services force."""
    return Text.from_ansi(text).plain
