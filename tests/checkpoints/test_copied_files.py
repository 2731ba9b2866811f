"""Copies of a checkpoint's files: their permissions, links, names and a full disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from pathlib import Path

import pytest
from file_sizes import files_of_at_most
from saved_networks import SHARDS, save
from small_networks import IMAGE, lenet5

import phew
from phew.checkpoints.run import MASKS, UNFINISHED

SHARD = "model-00002-of-00003.safetensors"
INDEX = "model.safetensors.index.json"


def prune(folder: Path, out: Path) -> None:
    phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out, write_weights=True)


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_copies_have_the_permissions_of_their_files(tmp_path: Path) -> None:
    folder, out = save(lenet5(), tmp_path / "model", num_shards=SHARDS), tmp_path / "out"
    modes = {"config.json": 0o600, SHARD: 0o400, INDEX: 0o664}
    for name, permissions in modes.items():
        (folder / name).chmod(permissions)
    prune(folder, out)
    for file in folder.iterdir():
        assert mode(out / file.name) == mode(file), file.name
    assert mode(out / SHARD) == 0o400
    (tmp_path / "plain").touch()
    assert mode(out / MASKS) == mode(tmp_path / "plain")


def test_a_private_file_is_private_while_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    def copy(source: Path, copied: Path) -> None:
        modes.append(mode(copied))
        copied.write_bytes(source.read_bytes())

    monkeypatch.setattr(shutil, "copyfile", copy)
    folder = save(lenet5(), tmp_path / "model", num_shards=SHARDS)
    prune(folder, tmp_path / "out")
    assert modes == [0o600] * (SHARDS + 2)


def test_links_are_followed_as_in_caches_of_the_hub(tmp_path: Path) -> None:
    saved, blobs = save(lenet5(), tmp_path / "saved", num_shards=SHARDS), tmp_path / "blobs"
    saved.rename(blobs)
    folder, out = tmp_path / "snapshot", tmp_path / "out"
    folder.mkdir()
    for number, file in enumerate(sorted(blobs.iterdir())):
        blob = file.rename(blobs / f"{number:064x}")
        blob.chmod(0o640)
        (folder / file.name).symlink_to(Path("..", "blobs", blob.name))
    (folder / "gone.json").symlink_to("nowhere")
    (folder / "sub").mkdir()
    prune(folder, out)
    assert {file.name for file in out.iterdir()} == {
        *(file.name for file in folder.glob("*model*")),
        "config.json",
        MASKS,
    }
    for file in out.iterdir():
        assert not file.is_symlink()
        assert file.name == MASKS or mode(file) == 0o640


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("name", ["model.safetensors", INDEX, SHARD])
def test_special_files_are_not_waited_for(name: str, tmp_path: Path) -> None:
    folder = save(lenet5(), tmp_path / "model", num_shards=SHARDS)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match=rf"{folder / name}' must be a regular file, got a FIFO"):
        prune(folder, tmp_path / "out")
    with pytest.raises(ValueError, match=rf"{folder / name}' must be a regular file, got a FIFO"):
        prune(folder / name, tmp_path / "out")


def test_special_files_in_out_are_neither_read_nor_replaced(tmp_path: Path) -> None:
    folder, out = save(lenet5(), tmp_path / "model"), tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / UNFINISHED)
    with pytest.raises(ValueError, match=rf"{UNFINISHED}' must be a regular file, got a FIFO"):
        phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out, resume=True)


def test_names_are_checked_before_any_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(lenet5(), tmp_path / "model")
    (folder / ("n" * 255)).touch()
    with pytest.raises(ValueError, match=r"path must be a name that a file can have, got '.*x00"):
        prune(folder, tmp_path / "a\0b")
    with pytest.raises(ValueError, match=r"path must be a name that a file can have, got '.*x00"):
        prune(tmp_path / "a\0b", tmp_path / "out")
    with pytest.raises(OSError, match=r"File name too long: '.*/n+/"):
        prune(folder, tmp_path / ("n" * 256))
    stat_of = Path.stat

    def with_shorter_names(path: Path, **options: bool) -> os.stat_result:
        if path.parent.name == "out" and len(path.name) > 143:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
        return stat_of(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", with_shorter_names)
        patch.setattr("phew.checkpoints.run.as_graph", None)
        with pytest.raises(OSError, match=r"File name too long: '.*/out/n+'$"):
            prune(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    prune(folder, tmp_path / "out")
    assert (tmp_path / "out" / ("n" * 255)).exists()


def test_a_full_disk_is_told_of_the_copy(tmp_path: Path) -> None:
    folder, out = save(lenet5(), tmp_path / "model"), tmp_path / "out"
    files = [folder / "model.safetensors", out / "model.safetensors"]
    message = re.escape(f"File too large: '{files[0]}' -> '{files[1]}'") + "$"
    too_few = files[0].stat().st_size - 100
    with files_of_at_most(too_few), pytest.raises(OSError, match=message) as caught:
        prune(folder, out)
    assert caught.value.errno == errno.EFBIG
    assert [file.name for file in out.iterdir()] == [MASKS]
