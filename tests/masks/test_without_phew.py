"""Files that torch.save wrote of pruned models are read, or say why not, where phew is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import phew

WITHOUT_PHEW = """
import sys, torch

class WithoutPhew:
    def find_spec(self, name, path=None, target=None):
        if name == "phew":
            raise ModuleNotFoundError("No module named 'phew'", name="phew")

sys.meta_path.insert(0, WithoutPhew())
loaded = torch.load("net.pt", weights_only=False)
if isinstance(loaded, dict):
    state, loaded = loaded, torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4))
    loaded.load_state_dict(state)
assert type(loaded[0]) is torch.nn.Linear
optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
loaded(torch.ones(2, 8)).sum().backward()
print(int(loaded[0].weight.count_nonzero()))
optimizer.step()
"""


def run_without_phew(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_PHEW],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )


def pruned() -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
    phew.Masks({"0.weight": torch.eye(6, 8, dtype=torch.bool)}).apply(model)
    return model


def sparse() -> nn.Module:
    model = pruned()
    phew.to_sparse(model, phew.Masks.of(model))
    return model


def released(model: nn.Module) -> nn.Module:
    phew.release(model)
    return model


def made_dense(model: nn.Module) -> nn.Module:
    phew.to_dense(model)
    return released(model)


CONTENTS: dict[str, Callable[[], object]] = {
    "state": lambda: pruned().state_dict(),
    "released": lambda: released(pruned()),
    "made dense": lambda: made_dense(sparse()),
    "state made dense": lambda: made_dense(sparse()).state_dict(),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONTENTS)
def test_plain_weights_are_read_without_phew(kind: str, tmp_path: Path) -> None:
    torch.save(CONTENTS[kind](), tmp_path / "net.pt")
    result = run_without_phew(tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "6\n"


@pytest.mark.parametrize("make", [pruned, sparse])
def test_a_model_under_masks_is_read_with_phew_alone(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.save(make(), tmp_path / "net.pt")
    loaded = torch.load(tmp_path / "net.pt", weights_only=False)
    assert phew.is_pruned(loaded)
    result = run_without_phew(tmp_path)
    assert result.returncode == 1
    assert "ModuleNotFoundError: No module named 'phew'" in result.stderr
