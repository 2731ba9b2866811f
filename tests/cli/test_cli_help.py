"""The help of commands names every option and teaches by examples."""

from __future__ import annotations

import pytest
from command_line import plain, run

import phew
from phew.masks import rescaling
from phew.walks import options as walks_options
from phew_cli import options


def test_help_teaches_by_examples() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "phew prune resnet20 --density 0.1 --out masks.safetensors\n" in (
        "\n".join(line.strip() for line in plain(result.stdout).splitlines())
    )


def test_help_of_prune_names_every_option() -> None:
    result = run("prune", "--help")
    assert result.exit_code == 0
    options = [
        *("density", "seed", "init-seed", "out", "input-shape", "fork", "granularity", "power"),
        *("include", "exclude", "threads", "json", "sparse"),
    ]
    text = plain(result.stdout)
    assert [option for option in options if f"--{option} " not in text] == []
    assert "phew prune vgg19_bn --density 0.1" in text


@pytest.mark.parametrize("command", ["prune", "inspect", "compare"])
def test_help_says_that_code_runs_and_where_it_comes_from(command: str) -> None:
    text = " ".join(plain(run(command, "--help").stdout).replace("│", " ").split())
    assert "Its code is imported and runs; modules are looked for in the current directory" in text


def test_help_of_inspect_names_every_option() -> None:
    result = run("inspect", "--help")
    assert result.exit_code == 0
    options = ["init-seed", "input-shape", "include", "exclude", "json"]
    text = plain(result.stdout)
    assert [option for option in options if f"--{option} " not in text] == []
    assert "phew inspect resnet50" in text


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"phew {phew.__version__}\n"


def test_choices_are_those_of_the_library() -> None:
    # The command line knows them by itself, because its help does not wait for torch.
    assert options.Fork == walks_options.Fork
    assert options.Granularity == walks_options.Granularity
    assert options.Power == walks_options.Power
    assert options.Rescale == rescaling.Rescale
