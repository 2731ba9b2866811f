"""An import of phew that cannot work says why."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import phew


def test_sources_without_the_extension_say_how_to_install_them(tmp_path: Path) -> None:
    sources = Path(phew.__path__[0])
    shutil.copytree(sources, tmp_path / "phew", ignore=shutil.ignore_patterns("_core*"))
    result = subprocess.run(
        [sys.executable, "-c", "import phew"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: phew must be installed, got its sources in ")
    assert str(tmp_path / "phew") in last
    assert "without the compiled engine, phew._core. Install it with `pip install .`" in last


def test_windows_is_refused_in_one_line(tmp_path: Path) -> None:
    code = "import sys; sys.platform = 'win32'; import phew"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "ImportError: phew runs on Linux and macOS, got Windows. Install it in WSL 2, the Linux of "
        "Windows: https://learn.microsoft.com/windows/wsl/install"
    )
