from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from zoo import torchvision_operators  # noqa: F401  what integrations are for imports torchvision

import phew
from phew import models

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
MODULES = [
    module.name
    for module in pkgutil.walk_packages(phew.__path__, "phew.")
    if module.name != "phew._core"
]


def test_readme_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(code, str(README), "exec"), {})
    assert phew.Masks.load(tmp_path / "masks.safetensors").density == pytest.approx(0.05, abs=1e-3)
    model = models.resnet_cifar(20)
    report = phew.load_sparse(model, tmp_path / "net.safetensors")
    reasons = {*report.left_dense.values()}
    assert reasons == {"little is gained where more than 50% is kept"}


# Libraries that import torchvision need its operators (see benchmarks/zoo).
RUN_SNIPPETS = """
import pathlib, re, sys
from zoo import torchvision_operators
for code in re.findall(r"```python\\n(.*?)```", pathlib.Path(sys.argv[1]).read_text(), re.DOTALL):
    exec(compile(code, sys.argv[1], "exec"), {"__name__": "snippet"})
    print(len(code.splitlines()))
"""


@pytest.mark.slow
def test_recipes_run(tmp_path: Path) -> None:
    """In a process of its own, which is a group of one."""
    group = {"MASTER_ADDR": "localhost", "MASTER_PORT": "0", "RANK": "0", "WORLD_SIZE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", RUN_SNIPPETS, ROOT / "docs/recipes.md"],
        cwd=tmp_path,
        env={**os.environ, **group, "PYTHONPATH": str(ROOT / "benchmarks")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    num_lines = [line for line in result.stdout.splitlines() if line.isdecimal()]
    assert len(num_lines) == 6


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_public_names_have_examples() -> None:
    for name in (
        "capture",
        "prune",
        "sample_masks",
        "Masks",
        "to_sparse",
        "to_dense",
        "save_sparse",
    ):
        assert ">>>" in (getattr(phew, name).__doc__ or ""), name
