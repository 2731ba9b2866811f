"""Where phew cannot be built, a build says why and what to do, before it compiles anything."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BUILD = """
import platform, sys
{}
from scikit_build_core import build
print(build.get_requires_for_build_wheel())
build.prepare_metadata_for_build_wheel(sys.argv[1])
"""


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (
            "sys.platform = 'win32'",
            "torch-phew runs on Linux and macOS, got Windows. Install it in WSL 2, the Linux of "
            "Windows: https://learn.microsoft.com/windows/wsl/install",
        ),
        (
            "platform.machine = lambda: 'armv7l'",
            "torch-phew runs on 64-bit systems, as PyTorch does, got one of 32 bits. Install a "
            "64-bit Python.",
        ),
    ],
)
def test_pip_refuses_a_system_in_one_line(system: str, message: str, tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core")
    command = [sys.executable, "-c", BUILD.format(system), str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 7, result.stderr
    # Neither CMake nor another tool is asked for.
    assert result.stdout == f"[]\n{message}\n"


def script(path: Path, refused: str, answer: str, program: str) -> Path:
    """Write a program that answers to one argument by itself, and runs another for all else."""
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *{refused}*) {answer};; esac\nexec "{program}" "$@"\n'
    )
    path.chmod(0o755)
    return path


def configure(folder: Path, *options: str) -> str:
    """Return what CMake says, in one line."""
    command = ["cmake", "-S", str(ROOT), "-B", str(folder / "build"), *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stdout
    return " ".join(result.stderr.split())


needs_cmake = pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("c++") is None,
    reason="needs CMake and a C++ compiler",
)


@needs_cmake
@pytest.mark.slow
def test_a_compiler_without_cxx_17_is_refused_by_name(tmp_path: Path) -> None:
    compiler = script(tmp_path / "c++", "-std=c++17", "exit 1", shutil.which("c++") or "")
    text = configure(tmp_path, f"-DCMAKE_CXX_COMPILER={compiler}")
    assert f"phew must be compiled by GCC 11, Clang 12 or newer, got {compiler} (" in text
    assert (
        "which does not know -std=c++17. Set the environment variable CXX to another compiler."
        in text
    )


@needs_cmake
@pytest.mark.slow
def test_a_python_of_32_bits_is_refused_by_name(tmp_path: Path) -> None:
    python = script(tmp_path / "python", "calcsize", "echo 32; exit", sys.executable)
    text = configure(tmp_path, "-DPHEW_PYTHON=ON", f"-DPython_EXECUTABLE={python}")
    assert (
        f"phew must be built for a 64-bit Python, as PyTorch is, got 32 bits in {python}." in text
    )
