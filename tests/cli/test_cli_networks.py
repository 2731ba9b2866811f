"""MODEL is a built-in network, one of another library, or a callable of a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from command_line import plain, run
from zoo import torchvision_operators  # noqa: F401  torchvision and timm cannot be imported before

from phew.models import NETWORKS


def test_models_lists_every_network_with_its_prunable_weights() -> None:
    result = run("models")
    assert result.exit_code == 0
    rows = [line.split() for line in plain(result.stdout).splitlines()[1:]]
    assert [row[0] for row in rows] == list(NETWORKS)
    assert ["vgg19_bn", "3,32,32", "20,024,000"] in rows


def test_models_are_json_too() -> None:
    facts = json.loads(run("models", "--json").stdout)
    assert [each["name"] for each in facts] == list(NETWORKS)
    assert facts[0] == {
        "name": "lenet_300_100",
        "input_shape": [1, 28, 28],
        "num_prunable_weights": 266_200,
    }


def test_prune_takes_a_callable_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    file = tmp_path / "nets_of_a_file.py"
    file.write_text("import torch\n\n\ndef make():\n    return torch.nn.Linear(6, 4)\n")
    result = run("prune", f"{file}:make", "--input-shape", "6", "--density", "0.5", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["num_weights"] == 24
    other = tmp_path / "inspect.py"
    other.write_text("import torch\n\n\ndef make():\n    return torch.nn.Linear(6, 3)\n")
    result = run("prune", f"{other}:make", "--input-shape", "6", "--density", "0.5", "--json")
    assert json.loads(result.stdout)["num_weights"] == 18
    missing = run("prune", f"{tmp_path}/x.py:make", "--density", "0.5")
    assert missing.exit_code == 2
    assert "MODEL must name a file, got" in missing.stderr


@pytest.mark.parametrize(
    ("model", "num_weights"),
    [
        ("timm:resnet10t.c3_in1k", 5_428_616),
        ("torchvision:squeezenet1_1", 1_231_552),
        ("transformers:SqueezeBertConfig", None),
    ],
)
def test_prune_takes_networks_of_other_libraries(model: str, num_weights: int | None) -> None:
    result = run("prune", model, "--density", "0.5", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["num_weights"]
    assert found == (num_weights or found)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm:nope", "timm has no model 'nope'."),
        ("torchvision:nope", "Unknown model nope"),
        ("transformers:NopeConfig", "has no attribute NopeConfig"),
        ("transformers:nope", "a class such as LlamaConfig, or a folder with a config.json"),
    ],
)
def test_networks_that_libraries_do_not_have(model: str, message: str) -> None:
    result = run("prune", model, "--density", "0.5")
    assert result.exit_code == 2
    library = model.partition(":")[0]
    assert f"MODEL must name a network of {library}, got '{model}': " in result.stderr
    assert message in result.stderr
