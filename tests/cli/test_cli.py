from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import plain, run
from small_networks import IMAGE, lenet5

import phew
from phew import models
from phew_cli.messages import messages_in_one_line

MY_NETWORKS = """
import torch

def make_net():
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))

def make_nothing():
    return 3

def make_of(width):
    return torch.nn.Linear(width, width)

class Described(torch.nn.Sequential):
    pretrained_cfg = {"input_size": (3, 6, 6)}

def make_described():
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(128, 4)
    return Described(*layers)

def make_mistake():
    return 1 + "1"

not_callable = 3
"""


@pytest.fixture
def my_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a module that the command line may import."""
    (tmp_path / "my_networks.py").write_text(MY_NETWORKS)
    (tmp_path / "broken_networks.py").write_text("import a_module_that_is_missing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_networks", raising=False)
    return tmp_path


def test_prune_prints_the_summary_and_one_line_of_facts() -> None:
    result = run("prune", "lenet5", "--density", "0.1")
    assert result.exit_code == 0, result.stderr
    *summary, facts = result.stdout.splitlines()
    masks = phew.sample_masks(lenet5(), IMAGE, density=0.1)
    assert summary == str(masks.summary()).splitlines()
    assert facts.startswith(
        f"density {masks.density:.6g}: kept {masks.num_kept:,} of 61,470 weights "
        f"by {masks.num_walks:,} walks in "
    )
    assert facts.endswith(" s; not saved (--out FILE saves the masks)")


def test_prune_saves_the_masks_that_the_library_samples(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    result = run(
        *("prune", "lenet5", "--density", "0.05", "--seed", "3", "--init-seed", "4"),
        *("--out", str(path)),
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout.endswith(f" s; saved to {path}\n")
    torch.manual_seed(4)
    network = models.lenet5()
    expected = phew.sample_masks(network, torch.zeros(1, 1, 28, 28), density=0.05, seed=3)
    masks = phew.Masks.load(path)
    assert masks == expected
    masks.apply(network)
    assert int(network.get_parameter("fc1.weight").count_nonzero()) == int(
        masks["fc1.weight"].sum()
    )


def test_layers_may_have_densities_of_their_own() -> None:
    options = ("--layer-density", "fc3=1", "--layer-density", "fc*=0.05", "--json")
    result = run("prune", "lenet5", "--density", "0.1", *options)
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["summary"]["rows"]
    kept = {row["parameter"]: row["num_kept"] for row in rows}
    assert kept["fc3.weight"] == 840
    assert kept["conv1.weight"] + kept["conv2.weight"] == 255
    result = run("prune", "lenet5", "--density", "0.1", "--layer-density", "fc3:1")
    assert result.exit_code == 2
    assert "--layer-density must be PATTERN=DENSITY, such as 'head=0.5', got 'fc3:1'." in (
        " ".join(result.stderr.split())
    )


def test_json_is_all_that_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    result = run("prune", "lenet5", "--density", "0.1", "--json", "--out", str(path))
    assert result.exit_code == 0
    assert result.stderr == ""
    printed = json.loads(result.stdout)
    masks = phew.Masks.load(path)
    assert printed.pop("seconds") > 0
    assert printed == {
        "model": "lenet5",
        "input_shape": [1, 28, 28],
        "init_seed": 0,
        "weights": None,
        "density": masks.density,
        "num_kept": masks.num_kept,
        "num_weights": 61_470,
        "num_walks": masks.num_walks,
        "approximations": [],
        "out": str(path),
        "rescale": None,
        "sparse": None,
        "info": dict(masks.info),
        "summary": masks.summary().as_dict(),
    }


def test_prune_hands_its_options_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    original = phew.capture

    def capture(
        model: Any, example_inputs: Any, *, include: list[str], exclude: list[str]
    ) -> phew.WalkGraph:
        seen.update(include=include, exclude=exclude, shape=tuple(example_inputs.shape))
        return original(model, example_inputs)

    def sample_masks(graph: phew.WalkGraph, **options: Any) -> phew.Masks:
        seen.update(options)
        return phew.Masks({"weight": torch.ones(2, 2, dtype=torch.bool)}, info={"num_walks": 1})

    monkeypatch.setattr("phew.capture", capture)
    monkeypatch.setattr("phew.sample_masks", sample_masks)
    result = run(
        *("prune", "resnet20", "--density", "0.3", "--seed", "7", "--input-shape", "3,40,48"),
        *("--fork", "mass", "--granularity", "kernel", "--power", "-1", "--threads", "3"),
        *("--exclude", "stem.*", "--exclude", "classifier.weight", "--include", "*"),
        *("--device", "cuda:1", "--layer-density", "stem=1"),
    )
    assert result.exit_code == 0, result.stderr
    assert seen == {
        "density": 0.3,
        "layer_densities": {"stem": 1},
        "seed": 7,
        "fork": "mass",
        "granularity": "kernel",
        "power": -1,
        "include": ["*"],
        "exclude": ["stem.*", "classifier.weight"],
        "num_threads": 3,
        "device": "cuda:1",
        "progress": False,
        "shape": (1, 3, 40, 48),
    }


@pytest.mark.usefixtures("my_networks")
def test_prune_takes_a_callable_of_the_current_directory() -> None:
    result = run(
        *("prune", "my_networks:make_net", "--input-shape", "6", "--density", "0.5", "--json")
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["num_weights"] == 6 * 8 + 8 * 4


@pytest.mark.usefixtures("my_networks")
def test_a_model_that_describes_its_input_needs_no_shape() -> None:
    result = run("prune", "my_networks:make_described", "--density", "0.5", "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["num_weights"] == 8 * 3 * 9 + 128 * 4
    assert printed["input_shape"] == [3, 6, 6]


@pytest.mark.usefixtures("my_networks")
def test_approximations_are_warned_of() -> None:
    result = run(
        "prune", "small_networks:Orthogonal", "--input-shape", "8", "--density", "0.5", "--json"
    )
    (approximation,) = json.loads(result.stdout)["approximations"]
    assert approximation["operation"] == "linalg_qr"
    assert result.stderr == (
        "phew: phew does not know the exact wiring of linalg_qr: taken as a complete one "
        "(phew.inspect says why).\n"
    )


@pytest.mark.usefixtures("my_networks")
def test_parameters_that_lose_all_weights_are_named() -> None:
    result = run("prune", "small_networks:TwoBranches", "--input-shape", "8", "--density", "0.0156")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith("phew: the masks keep no weight of ")


def test_other_warnings_are_left_to_python(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="mind the gap"), messages_in_one_line():
        warnings.warn("mind the gap", UserWarning, stacklevel=1)
    assert not capsys.readouterr().err


@pytest.mark.usefixtures("my_networks")
def test_inspect_prints_the_report() -> None:
    result = run("inspect", "my_networks:make_net", "--input-shape", "6", "--exclude", "2.*")
    assert result.exit_code == 0, result.stderr
    network = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    graph = phew.capture(network, torch.zeros(1, 6), exclude=["2.*"])
    assert result.stdout == f"{phew.inspect(graph)}\n"


@pytest.mark.usefixtures("my_networks")
def test_inspect_prints_one_json_object() -> None:
    result = run("inspect", "my_networks:make_described", "--include", "2.weight", "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["model"] == "my_networks:make_described"
    assert printed["input_shape"] == [3, 6, 6]
    assert printed["init_seed"] == 0
    assert [(link["parameter"], link["prunable"]) for link in printed["links"]] == [
        ("0.weight", False),
        ("2.weight", True),
    ]
    assert printed["not_prunable"]["0.weight"] == "not in include"


def test_inspect_says_what_is_wrong_in_one_line() -> None:
    result = run("inspect", "lenet5", "--exclude", "head.*")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("phew: exclude must match parameters, got 'head.*', ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["vgg19bn"],
            "MODEL must be a built-in name, LIBRARY:NAME, package.module:callable or "
            "file.py:callable, got 'vgg19bn'. "
            "Did you mean 'vgg19_bn'? Built in are lenet_300_100, lenet5, vgg11, ",
        ),
        (
            ["alexander"],
            "MODEL must be a built-in name, LIBRARY:NAME, package.module:callable or "
            "file.py:callable, got 'alexander'. Built in ",
        ),
        (
            ["missing_networks:make_net", "--input-shape", "6"],
            "MODEL must name a module to import, got 'missing_networks:make_net': "
            "No module named 'missing_networks'.",
        ),
        (
            ["broken_networks:make_net", "--input-shape", "6"],
            "MODEL must name a module to import, got 'broken_networks:make_net': "
            "No module named 'a_module_that_is_missing'.",
        ),
        (
            ["my_networks:make_nut", "--input-shape", "6"],
            "MODEL must name a callable, got 'my_networks:make_nut': no 'make_nut' there.",
        ),
        (
            ["my_networks:not_callable", "--input-shape", "6"],
            "MODEL must be callable without arguments, got 'my_networks:not_callable': "
            "3 is not a callable object.",
        ),
        (
            ["my_networks:make_of", "--input-shape", "6"],
            "MODEL must be callable without arguments, got 'my_networks:make_of': "
            "missing a required argument: 'width'.",
        ),
        (
            ["my_networks:make_mistake", "--input-shape", "6"],
            "MODEL must return a torch.nn.Module, got TypeError from 'my_networks:make_mistake': "
            "unsupported operand type(s) for +: 'int' and 'str'.",
        ),
        *(
            (
                [target, "--input-shape", "6"],
                f"MODEL must be package.module:callable or file.py:callable, got {target!r}.",
            )
            for target in (":net", "..x:net", "my_networks:", "my_networks:make_net()")
        ),
        (
            ["my_networks:make_nothing", "--input-shape", "6"],
            "MODEL must return a torch.nn.Module, got int from 'my_networks:make_nothing'.",
        ),
        (
            ["my_networks:make_net"],
            "--input-shape must be given for 'my_networks:make_net', such as 3,224,224: "
            "Sequential does not describe its input.",
        ),
        (
            ["lenet5", "--input-shape", "3x32x32"],
            "--input-shape must be positive integers with commas such as 3,224,224, got '3x32x32'.",
        ),
        (
            ["lenet5", "--input-shape", "3,0,32"],
            "--input-shape must be positive integers with commas such as 3,224,224, got '3,0,32'.",
        ),
        (
            ["lenet5", "--out", "missing/masks.safetensors"],
            "--out must be a file in a folder that exists, got 'missing/masks.safetensors'.",
        ),
        (["lenet5", "--out", "."], "--out must be a file in a folder that exists, got '.'."),
        (["lenet5", "--out", "m" * 256], f"[Errno {errno.ENAMETOOLONG}] File name too long: 'mmm"),
        (["lenet5", "--out", os.devnull], f"{os.devnull!r} must be a regular file, got a FIFO, "),
        (["lenet5", "--density", "1.5"], "density must be in (0, 1], got 1.5."),
        (
            ["lenet5", "--exclude", "head.*"],
            "exclude must match parameters, got 'head.*', ",
        ),
        (
            ["lenet5", "--include", "*.bias"],
            "include must select weights of two or more dimensions that example_inputs lead "
            "through, got ['*.bias'], ",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    my_networks: Path, arguments: list[str], message: str
) -> None:
    before = sorted(my_networks.iterdir())
    out = [] if "--out" in arguments else ["--out", "masks.safetensors"]
    result = run("prune", "--density", "0.1", *arguments, "--json", *out)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"phew: {message}")
    assert result.stderr.count("\n") == 1
    assert [path for path in sorted(my_networks.iterdir()) if path.suffix] == before


def test_failure_leaves_an_earlier_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    path.write_text("earlier")
    assert run("prune", "lenet5", "--density", "1.5", "--out", str(path)).exit_code == 2
    assert path.read_text() == "earlier"


def test_bad_choice_is_an_error_of_usage() -> None:
    result = run("prune", "lenet5", "--density", "0.1", "--fork", "sideways")
    assert result.exit_code == 2
    assert "'sideways' is not one of 'uniform', 'mass'" in " ".join(plain(result.stderr).split())


def test_info_tells_what_walks_can_run_on() -> None:
    facts = json.loads(run("info", "--json").stdout)
    assert facts["phew"] == phew.__version__
    assert facts["built_with_cuda"] == phew.built_with_cuda
    assert (facts["cuda_version"] is not None) == phew.built_with_cuda
    assert bool(facts["gpu_capabilities"]) == phew.built_with_cuda
    assert facts["instruction_set"] in facts["instruction_sets"]
    assert len(facts["devices"]) == torch.cuda.device_count()
    assert f"instruction set   {facts['instruction_set']}" in run("info").stdout


def test_prune_refuses_a_device_that_is_not_there() -> None:
    result = run("prune", "lenet5", "--density", "0.1", "--device", "cuda:99")
    assert result.exit_code == 2
    assert "device" in result.stderr
