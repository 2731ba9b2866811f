"""An import of phew that cannot work says why, and so do commands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import phew


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The sources of phew without the extension, as in a clone, and where Python finds them."""
    ignored = shutil.ignore_patterns("_core*")
    shutil.copytree(phew.__path__[0], tmp_path / "phew", ignore=ignored)
    return tmp_path / "phew"


def run(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_sources_without_the_extension_say_how_to_install_them(sources: Path) -> None:
    result = run("import phew", cwd=sources.parent)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: phew must be installed, got its sources in ")
    assert str(sources) in last
    assert "without the compiled engine, phew._core. Install it with `pip install .`" in last


def test_commands_without_the_extension_say_so_in_one_line(sources: Path) -> None:
    result = run("from phew_cli import main; main()", "info", cwd=sources.parent)
    assert result.returncode == 2
    assert result.stderr.startswith("phew: phew must be installed, got its sources in ")
    assert result.stderr.count("\n") == 1


def test_windows_is_refused_in_one_line(tmp_path: Path) -> None:
    result = run("import sys; sys.platform = 'win32'; import phew", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "ImportError: phew runs on Linux and macOS, got Windows. Install it in WSL 2, the Linux of "
        "Windows: https://learn.microsoft.com/windows/wsl/install"
    )
