"""The files that a run left are checked before another goes on with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_networks import save
from torch import nn

import phew
from phew import Masks
from phew.checkpoints import run
from phew.checkpoints.run import MASKS, UNFINISHED
from phew.walks import sampler

EXAMPLE = torch.zeros(1, 64)
DENSITY = 0.3


class Killed(BaseException):
    """Stands for the end of a process that is killed."""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A network on which walks are made in small batches."""
    monkeypatch.setitem(sampler.FEWEST_PER_BATCH, "cpu", 300)
    monkeypatch.setattr(sampler, "WEIGHTS_PER_WALK", 2**40)
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))


def prune(model: nn.Module, folder: Path, **options: Any) -> Masks:
    return phew.prune_checkpoint(
        model, folder / "model", EXAMPLE, density=DENSITY, out=folder / "out", **options
    )


def leave_unfinished(
    model: nn.Module, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Path:
    """Let a run be killed after its first batch; return the file that it left."""
    save_first = run._Run._save

    def save_and_die(*arguments: Any) -> None:
        save_first(*arguments)
        raise Killed

    save(model, folder / "model")
    with monkeypatch.context() as patch:
        patch.setattr(run._Run, "_save", save_and_die)
        with pytest.raises(Killed):
            prune(model, folder, **options)
    return folder / "out" / UNFINISHED


@pytest.mark.parametrize("layer_densities", [{}, {"0": 0.6}])
def test_a_run_that_is_gone_on_with_has_the_same_masks(
    layer_densities: dict[str, float],
    model: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {"layer_densities": layer_densities}
    unfinished = leave_unfinished(model, tmp_path, monkeypatch, **options)
    assert 0 < Masks.load(unfinished).density < DENSITY
    masks = prune(model, tmp_path, resume=True, **options)
    expected = phew.sample_masks(model, EXAMPLE, density=DENSITY, **options)
    assert masks == expected
    assert masks.num_walks == expected.num_walks
    assert masks.info["phew_version"] == phew.__version__
    assert Masks.load(tmp_path / "out" / MASKS).info == masks.info


@pytest.mark.parametrize("from_end", [1, 100, 900])
@pytest.mark.parametrize("name", [UNFINISHED, MASKS])
def test_a_bit_that_flipped_is_seen(
    name: str, from_end: int, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = leave_unfinished(model, tmp_path, monkeypatch)
    if name == MASKS:
        prune(model, tmp_path, resume=True)
        left = tmp_path / "out" / MASKS
    content = bytearray(left.read_bytes())
    content[-from_end] ^= 4
    left.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{left}', .* its bytes are not those that were saved"):
        prune(model, tmp_path, resume=True)


def with_info(**facts: Any) -> Callable[[Masks], Masks]:
    def change(masks: Masks) -> Masks:
        info = {**masks.info, **facts}
        kept = {key: value for key, value in info.items() if value is not None}
        return Masks(dict(masks), info=kept)

    return change


def keep_all(masks: Masks) -> Masks:
    return Masks({name: torch.ones_like(mask) for name, mask in masks.items()}, info=masks.info)


def keep_nothing(masks: Masks) -> Masks:
    return Masks({name: torch.zeros_like(mask) for name, mask in masks.items()}, info=masks.info)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_info(num_walks=None), "num_walks must be a number of walks, got None"),
        (with_info(num_walks="many"), "num_walks must be a number of walks, got 'many'"),
        (with_info(num_walks=300.0), "num_walks must be a number of walks, got 300.0"),
        (with_info(num_walks=True), "num_walks must be a number of walks, got True"),
        (with_info(num_walks=0), "num_walks must be a number of walks, got 0"),
        (with_info(num_walks=-5), "num_walks must be a number of walks, got -5"),
        (with_info(num_walks=2**70), "num_walks must be a number of walks, got 11805"),
        (with_info(num_walks=10**6), "must be what 1,000,000 walks visit, some 8,1.. weights, got"),
        (with_info(num_walks=1), "must be what 1 walks visit, some 2 weights, got"),
        (keep_all, "walks visit, some .* weights, got 8,192"),
        (keep_nothing, "walks visit, some .* weights, got 0"),
    ],
)
def test_walks_that_cannot_have_been_made_are_refused(
    change: Callable[[Masks], Masks],
    reason: str,
    model: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unfinished = leave_unfinished(model, tmp_path, monkeypatch)
    change(Masks.load(unfinished)).save(unfinished)
    with pytest.raises(ValueError, match=rf"{unfinished}' is damaged: .*{reason}.*\. Remove it\.$"):
        prune(model, tmp_path, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda masks: {"0.weight": masks["0.weight"]}, id="one is missing"),
        pytest.param(lambda masks: dict(reversed([*masks.items()])), id="in another order"),
        pytest.param(lambda masks: {**masks, "1.bias": masks["0.weight"][0]}, id="one more"),
        pytest.param(lambda masks: {**masks, "1.weight": masks["1.weight"][:9]}, id="other shape"),
    ],
)
@pytest.mark.parametrize("name", [UNFINISHED, MASKS])
def test_masks_of_other_parameters_are_refused(
    name: str,
    change: Callable[[Masks], dict[str, torch.Tensor]],
    model: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unfinished = leave_unfinished(model, tmp_path, monkeypatch)
    masks = Masks.load(unfinished)
    Masks(change(masks), info=masks.info).save(tmp_path / "out" / name)
    with pytest.raises(ValueError, match=rf"another's '{tmp_path / 'out' / name}'"):
        prune(model, tmp_path, resume=True)
