"""Runs over checkpoints leave whole files in their folder, and are resumed from them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_networks import SHARDS, save
from small_networks import IMAGE, lenet5
from torch import nn

import phew
from phew import Masks
from phew.checkpoints.run import MASKS, UNFINISHED
from phew.models import resnet
from phew.support.files import own_folder
from phew.walks import sampler

PRUNE = """
import sys, torch
from pathlib import Path
import phew, phew.walks.sampler
from phew.models import resnet
phew.walks.sampler.FEWEST_PER_BATCH["cpu"] = 2_000
phew.walks.sampler.WEIGHTS_PER_WALK = 2**40
folder = Path(sys.argv[1])
with torch.device("meta"):
    model = resnet(18, image_size=32)
print("begun", flush=True)
phew.prune_checkpoint(
    model, folder / "model", torch.zeros(1, 3, 32, 32), density=0.05, out=folder / "out",
    write_weights=True, resume=True, num_threads=1,
)
"""


def run(
    folder: Path, kill_after: float | None = None, kill_at: Path | None = None
) -> tuple[int, float]:
    """Run the script, to its end or not, and return its exit code and the seconds since it began.

    Args:
        folder: Where the checkpoint is, and the result will be.
        kill_after: Seconds after which it is killed.
        kill_at: A file; the run is killed as soon as it exists.
    """
    command = [sys.executable, "-c", PRUNE, str(folder)]
    # In the root of a clone, Python would import phew's sources, which have no extension.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        process.stdout.readline()
        begun = time.perf_counter()
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        if kill_at is not None:
            while not kill_at.exists() and process.poll() is None:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        return process.wait(), time.perf_counter() - begun


def check_whole(out: Path, expected: Path) -> set[str]:
    """Check that each file that has its name has its content; return the names."""
    files = list(out.iterdir()) if out.exists() else []
    for file in files:
        if file.name == UNFINISHED:
            assert int(Masks.load(file).info["num_walks"]) % 4_000 == 0
        elif file.name == MASKS:
            found, whole = Masks.load(file), Masks.load(expected / MASKS)
            assert found == whole
            assert found.num_walks == whole.num_walks
        elif not file.name.endswith(".partial"):
            assert file.read_bytes() == (expected / file.name).read_bytes(), file.name
    return {file.name for file in files}


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_whole_files_and_is_resumed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(resnet(18, image_size=32), tmp_path / "model", num_shards=SHARDS)
    out, expected = tmp_path / "out", tmp_path / "expected"
    # The first run goes to its end, which shows how long it takes and what it writes.
    exit_code, seconds = run(tmp_path)
    assert exit_code == 0
    out.rename(expected)
    run(tmp_path, kill_at=out / UNFINISHED)
    assert UNFINISHED in check_whole(out, expected)
    moments = random.Random(0)
    for _ in range(NUM_KILLS):
        exit_code, _ = run(tmp_path)
        assert exit_code == 0
        assert check_whole(out, expected) == {file.name for file in expected.iterdir()}
        shutil.rmtree(out)
        run(tmp_path, kill_after=moments.uniform(0, 1.1 * seconds))
        check_whole(out, expected)


NUM_KILLS = int(os.environ.get("PHEW_NUM_KILLS", "5"))
"""Moments at which a run is killed."""


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    model, folder, out = lenet5(), save(lenet5(), tmp_path / "model"), tmp_path / "out"
    phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=out)
    with pytest.raises(FileExistsError, match="out must be an empty folder"):
        phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=out)
    with pytest.raises(ValueError, match="a run of the same arguments left, got another's"):
        phew.prune_checkpoint(model, folder, IMAGE, density=0.2, out=out, resume=True)
    os.utime(folder / "model.safetensors", (0, 0))
    with pytest.raises(ValueError, match="a run of the same arguments left, got another's"):
        phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=out, resume=True)
    with pytest.raises(ValueError, match="out must be another folder than the checkpoint's"):
        phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=folder)


def test_a_run_of_another_version_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder, out = lenet5(), save(lenet5(), tmp_path / "model"), tmp_path / "out"
    phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=out)
    monkeypatch.setattr("phew.checkpoints.run.__version__", "0.0.1")
    with pytest.raises(ValueError, match="a run of the same arguments left, got another's"):
        phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=out, resume=True)


def test_what_a_run_leaves_until_the_folder_is_locked_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def after_another_run(out: Path) -> Iterator[None]:
        with own_folder(out):
            (out / MASKS).touch()
            yield

    monkeypatch.setattr("phew.checkpoints.run.own_folder", after_another_run)
    folder, out = save(lenet5(), tmp_path / "model"), tmp_path / "out"
    with pytest.raises(FileExistsError, match="Go on with what a run left there with resume"):
        phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out)


def test_another_model_of_the_same_parameters_is_another_run(tmp_path: Path) -> None:
    class Ordered(nn.Module):
        def __init__(self, order: str) -> None:
            super().__init__()
            self.order = order
            self.a, self.b, self.c = (nn.Linear(8, 8) for _ in range(3))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            for name in self.order:
                inputs = getattr(self, name)(inputs)
            return inputs

    torch.manual_seed(0)
    folder, example = save(Ordered("abc"), tmp_path / "model"), torch.zeros(1, 8)
    options: dict[str, Any] = {"density": 0.3, "out": tmp_path / "out"}
    phew.prune_checkpoint(Ordered("abc"), folder, example, **options)
    with pytest.raises(ValueError, match="a run of the same arguments left, got another's"):
        phew.prune_checkpoint(Ordered("cba"), folder, example, **options, resume=True)


def test_files_that_no_run_left_are_not_taken_for_its_own(tmp_path: Path) -> None:
    folder, out = save(lenet5(), tmp_path / "model"), tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").touch()
    with pytest.raises(FileExistsError, match="out must be an empty folder"):
        phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out, resume=True)
    (folder / "model.safetensors").rename(folder / MASKS)
    with pytest.raises(ValueError, match="checkpoint must have files of other names"):
        phew.prune_checkpoint(lenet5(), folder / MASKS, IMAGE, density=0.1, out=tmp_path / "new")


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    folder, out = save(lenet5(), tmp_path / "model"), tmp_path / "out"
    with own_folder(out), pytest.raises(BlockingIOError, match=r"Another process .*out'"):
        phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out)
    assert not out.exists()
    phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out)


def test_a_call_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    folder = save(lenet5(), tmp_path / "model")
    with pytest.raises(ValueError, match="density must keep at least one"):
        phew.prune_checkpoint(lenet5(), folder, IMAGE, density=1e-9, out=tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=tmp_path / "no" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_files_of_others_stay_where_they_are(tmp_path: Path) -> None:
    folder, out = save(lenet5(), tmp_path / "model"), tmp_path / "out"
    phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out)
    own, others = out / f".phew.{'0a' * 16}.partial", out / ".notes.partial"
    own.touch()
    others.touch()
    phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out, resume=True)
    assert {path.name for path in out.iterdir()} == {MASKS, others.name}


class Killed(BaseException):
    """Stands for the end of a process that is killed."""


def test_a_run_that_is_killed_at_any_change_of_a_file_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sampler.FEWEST_PER_BATCH, "cpu", 300)
    monkeypatch.setattr(sampler, "WEIGHTS_PER_WALK", 2**40)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    folder = save(model, tmp_path / "model", num_shards=2)
    num_left = 0

    def until_killed(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            nonlocal num_left
            num_left -= 1
            if num_left < 0:
                raise Killed
            return change(*arguments, **options)

        return changed

    for name in ("replace", "unlink", "touch", "mkdir"):
        monkeypatch.setattr(Path, name, until_killed(getattr(Path, name)))

    def run(out: Path, num_changes: int) -> dict[str, bytes]:
        nonlocal num_left
        num_left = num_changes
        options: dict[str, Any] = {"density": 0.3, "write_weights": True, "resume": True}
        phew.prune_checkpoint(model, folder, torch.zeros(1, 64), out=out, **options)
        return {path.name: path.read_bytes() for path in out.iterdir() if path.name != MASKS}

    many = 10_000
    expected = run(tmp_path / "whole", many)
    num_changes = many - num_left
    assert num_changes > 15
    for number in range(num_changes):
        out = tmp_path / f"out{number}"
        with pytest.raises(Killed):
            run(out, number)
        assert run(out, many) == expected
        assert Masks.load(out / MASKS) == Masks.load(tmp_path / "whole" / MASKS)
