from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner
from zoo import torchvision_operators  # noqa: F401  what integrations are for imports torchvision

import phew
from phew import models
from phew_cli import app

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted(ROOT.glob("docs/**/*.md"))
# The code and commands of a page are one session. Those of tutorials run when the site is built.
BLOCKS = re.compile(r"^ *```(python|bash)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
SLOW = {"large.md"}

SITE = "https://phew-pruning.github.io/phew/"
MODULES = [
    module.name
    for module in pkgutil.walk_packages(phew.__path__, "phew.")
    if module.name != "phew._core"
]


def run_page(page: Path) -> None:
    names: dict[str, object] = {}
    for language, indented in BLOCKS.findall(page.read_text()):
        code = textwrap.dedent(indented)
        if language == "bash":
            for command in commands_of_phew(code):
                result = CliRunner().invoke(app, command)
                assert result.exit_code == 0, (command, result.output)
        elif code.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(code, names, page.name, None, 0)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
            names.update(test.globs)
        else:
            exec(compile(code, page, "exec"), names)


def commands_of_phew(shell: str) -> Iterator[list[str]]:
    for line in shell.replace("\\\n", " ").splitlines():
        for command in line.split("&&"):
            program, *arguments = shlex.split(command, comments=True) or [""]
            if program == "phew":
                yield arguments


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in SLOW else [])
        for page in PAGES
        if BLOCKS.search(page.read_text()) and page.name != "recipes.md"
    ],
)
def test_code_and_commands_of_a_page_run(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page)


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


def test_start_shows_what_its_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "start.md").read_text()
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    code, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    assert _words(capsys.readouterr().out) == _words(shown)


def _words(table: str) -> list[str]:
    """Return a table without its numbers, which follow from the initial weights, and its lines."""
    return re.findall(r"[a-z][\w.]*|total", table)


def test_the_readme_is_short_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(README.read_text().splitlines()) < 90
    run_page(README)
    assert phew.Masks.load(tmp_path / "masks.safetensors").density == pytest.approx(0.05, abs=1e-3)
    model = models.resnet_cifar(20)
    report = phew.load_sparse(model, tmp_path / "net.safetensors")
    reasons = {*report.left_dense.values()}
    assert reasons == {"little is gained where more than 50% is kept"}


def test_links_to_the_site_lead_to_its_pages() -> None:
    for file in (*ROOT.glob("*.md"), ROOT / "pyproject.toml"):
        for page in re.findall(rf"{re.escape(SITE)}([\w/.-]*)", file.read_text()):
            source = (page or "index.html").replace(".html", ".md")
            assert (ROOT / "docs" / source).exists(), (file.name, page)


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
