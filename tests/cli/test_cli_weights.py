"""--weights loads files of weights, as programs save them, strictly, and runs nothing in them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from command_line import run
from small_networks import IMAGE
from torch import nn

import phew
from phew import models
from phew_cli.weights import load_weights


def other_lenet5() -> nn.Module:
    """LeNet-5 with other weights than the command line draws, biases included."""
    torch.manual_seed(1)
    network = models.lenet5()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    return network


def with_prefix(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in state.items()}


WRAPPINGS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "": lambda state: state,
    "the entry 'state_dict' was taken": lambda state: {"epoch": 9, "state_dict": state},
    "the entry 'model_state_dict' was taken": lambda state: {"model_state_dict": state},
    "the entry 'model' was taken": lambda state: {"optimizer": {}, "model": state},
    "the prefix 'module.' of all names was taken off": lambda state: with_prefix("module.", state),
    "the prefix 'module._orig_mod.' of all names was taken off": lambda state: {
        "model": with_prefix("module._orig_mod.", state)
    },
    # Lightning saves the state of a module of its own, which has the network as `model`.
    "the entry 'state_dict' was taken; the prefix 'model.' of all names was taken off": (
        lambda state: {"state_dict": with_prefix("model.", state), "callbacks": {}}
    ),
    "the entry 'model' was taken; the entry 'state_dict' was taken": lambda state: {
        "model": {"state_dict": state}
    },
    "the entry 'state_dict' was taken; the entry 'model' was taken": lambda state: {
        "state_dict": {"model": state}
    },
}


def printed_by(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    printed: dict[str, Any] = json.loads(result.stdout)
    return printed


@pytest.mark.parametrize("taken_off", WRAPPINGS)
def test_prune_walks_on_the_weights_of_a_file_however_they_are_wrapped(
    taken_off: str, tmp_path: Path
) -> None:
    network, path, out = other_lenet5(), tmp_path / "net.pt", tmp_path / "masks.safetensors"
    torch.save(WRAPPINGS[taken_off](network.state_dict()), path)
    result = run("prune", "lenet5", "--density", "0.1", "--weights", str(path), "--out", str(out))
    assert result.exit_code == 0, result.stderr
    assert phew.Masks.load(out) == phew.sample_masks(network, IMAGE, density=0.1)
    phew.Masks.load(out).apply(network)
    said = [line.removeprefix(f"phew: {str(path)!r}: ") for line in result.stderr.splitlines()]
    expected = taken_off.split("; ") if taken_off else []
    assert said[-len(expected) :] == [f"{each}." for each in expected]


def test_safetensors_files_and_folders_are_weights_too(tmp_path: Path) -> None:
    network = other_lenet5()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    expected = dict(phew.sample_masks(network, IMAGE, density=0.1).info)
    for source in (path, tmp_path):
        arguments = ("prune", "lenet5", "--density", "0.1", "--weights", str(source))
        printed = printed_by(*arguments)
        assert printed["info"] == expected
        assert printed["weights"] == str(source)


def test_compare_and_inspect_take_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    network = other_lenet5()
    with torch.no_grad():
        network.get_parameter("conv1.weight").zero_()
    torch.save(network.state_dict(), path)
    weights = ("--weights", str(path))
    assert printed_by("inspect", "lenet5", *weights)["weights"] == str(path)
    compared = ("compare", "lenet5", "--methods", "magnitude", "--densities", "0.5")
    dense, zeroed = printed_by(*compared), printed_by(*compared, *weights)
    assert zeroed["weights"] == str(path)
    assert dense["weights"] is None
    assert dense["rows"] != zeroed["rows"]


def test_weights_that_are_tied_may_be_stored_once(tmp_path: Path) -> None:
    (tmp_path / "tied.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))\n"
        "    net[2].weight = net[0].weight\n"
        "    return net\n"
    )
    state = {"2.weight": torch.eye(4), "0.bias": torch.zeros(4), "2.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "net.bin")
    printed = printed_by(
        *("prune", f"{tmp_path / 'tied.py'}:make", "--input-shape", "4", "--density", "0.25"),
        *("--weights", str(tmp_path / "net.bin")),
    )
    assert printed["num_kept"] == 4


def test_weights_of_a_file_are_not_rescaled_unless_that_is_asked_for(tmp_path: Path) -> None:
    network, path, out = other_lenet5(), tmp_path / "net.pt", tmp_path / "net.safetensors"
    torch.save(network.state_dict(), path)
    arguments = ("prune", "lenet5", "--density", "0.1", "--sparse", "--weights", str(path))
    result = run(*arguments, "--out", str(out))
    assert result.stdout.endswith("; kept weights are not rescaled\n")
    loaded = models.lenet5()
    phew.load_sparse(loaded, out)
    phew.to_dense(loaded)
    weights, trained = loaded.get_parameter("conv2.weight"), network.get_parameter("conv2.weight")
    assert weights[weights != 0].equal(trained[weights != 0])
    assert printed_by(*arguments, "--rescale", "auto")["rescale"] == "auto"


def missing(state: dict[str, Any]) -> Any:
    return {name: value for name, value in state.items() if name != "conv1.bias"}


def resized(state: dict[str, Any]) -> Any:
    return {**state, "conv1.weight": torch.zeros(6, 3, 5, 5)}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (missing, "must be of this MODEL, got PATH, which lacks 'conv1.bias'. Give the MODEL"),
        (lambda state: {**state, "x": 1}, "must be of this MODEL, got PATH, which also has 'x'."),
        (
            lambda state: {**with_prefix("net.", state), "x": 1},
            "which lacks 'conv1.weight', 'conv1.bias', 'conv2.weight', 'conv2.bias', 'fc1.weight' "
            "and 5 more and also has 'net.conv1.weight', 'net.conv1.bias'",
        ),
        (
            lambda state: with_prefix("net.", missing(state)),
            "must be of this MODEL, got PATH, which lacks 'conv1.bias'. Give the MODEL",
        ),
        (
            lambda state: {**state, "conv1.bias": state["conv1.bias"].to(torch.complex64)},
            "which has 'conv1.bias' of shape (6,) of complex numbers and not shape (6,).",
        ),
        (
            lambda state: {**state, None: torch.zeros(1)},
            "must be a file of a state dict, got PATH, in which None is the name of a tensor. Save",
        ),
        (
            resized,
            "which has 'conv1.weight' of shape (6, 3, 5, 5) and not shape (6, 1, 5, 5). Give",
        ),
        (
            lambda state: {**state, "conv1.bias": torch.ones(6, dtype=torch.bool)},
            "which has 'conv1.bias' of shape (6,) of torch.bool and not shape (6,).",
        ),
        (
            lambda state: models.lenet5(),
            "must be a file of a state dict, got PATH, which holds a torch.nn.modules",
        ),
        (lambda state: [*state], "must be a file of a state dict, got PATH, which is of a list."),
    ],
)
def test_files_of_other_weights_are_refused(
    change: Callable[[dict[str, Any]], Any], error: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt"
    torch.save(change(other_lenet5().state_dict()), path)
    result = run("inspect", "lenet5", "--weights", str(path))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert error.replace("PATH", repr(str(path))) in result.stderr


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_nothing_in_a_file_of_weights_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Malicious()}, "net.pt")
    result = run("inspect", "lenet5", "--weights", "net.pt")
    assert result.exit_code == 2
    assert re.search(r"holds a \S+, which may run code\. Save model\.state", result.stderr)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    "content", [b"", b"no weights", b"PK", b"hello world\n", b"import torch\n", b"\x80\x02K"]
)
def test_files_that_cannot_be_read_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(content)
    result = run("inspect", "lenet5", "--weights", str(path))
    assert result.exit_code == 2
    assert f"got {str(path)!r}, which cannot be read. Save model.state_dict()" in result.stderr


def test_random_bytes_are_refused_in_one_line(tmp_path: Path) -> None:
    path, network = tmp_path / "net.pt", models.lenet5()
    generator = random.Random(0)
    expected = r"^--weights must be a file of a state dict, got [^\n]*\.$"
    for _ in range(300):
        path.write_bytes(generator.randbytes(100))
        with pytest.raises(ValueError, match=expected):
            load_weights(network, path)


def test_a_folder_without_safetensors_is_referred_to_its_file(tmp_path: Path) -> None:
    torch.save(other_lenet5().state_dict(), tmp_path / "pytorch_model.bin")
    result = run("inspect", "lenet5", "--weights", str(tmp_path))
    assert result.exit_code == 2
    assert "a folder without safetensors files. Give its pytorch_model.bin." in result.stderr
    path = tmp_path / "pytorch_model.bin"
    assert printed_by("inspect", "lenet5", "--weights", str(path))["weights"] == str(path)


def test_weights_and_a_checkpoint_exclude_each_other(tmp_path: Path) -> None:
    result = run(
        *("prune", "lenet5", "--density", "0.1", "--weights", "net.pt"),
        *("--checkpoint", str(tmp_path), "--out", str(tmp_path / "out")),
    )
    assert result.exit_code == 2
    assert result.stderr.startswith("phew: --weights must be given without --checkpoint")


def test_a_checkpoint_of_torch_save_is_referred_to_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save(other_lenet5().state_dict(), path)
    result = run(
        *("prune", "lenet5", "--density", "0.1"),
        *("--checkpoint", str(path), "--out", str(tmp_path / "out")),
    )
    assert result.exit_code == 2
    assert "or load it into the model: phew prune --weights." in result.stderr
