from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import phew
from phew import models

README = Path(__file__).parents[2] / "README.md"
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
