"""Folders that one process at a time has for itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phew.support import files
from phew.support.files import own_folder


@pytest.mark.parametrize("moment", ["opened", "locked"])
def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call made the folder, and fails at the moment at which this one takes it."""
    folder = tmp_path / "out"
    folder.mkdir()
    owner, name = (os, "open") if moment == "opened" else (files, "_lock")
    step = getattr(owner, name)

    def after_removal(*arguments: object) -> object:
        monkeypatch.setattr(owner, name, step)
        folder.rmdir()
        return step(*arguments)

    monkeypatch.setattr(owner, name, after_removal)
    before = len([*Path("/dev/fd").iterdir()])
    with own_folder(folder):
        (folder / "file").touch()
        with pytest.raises(BlockingIOError), own_folder(folder):
            pass
        assert len([*Path("/dev/fd").iterdir()]) == before + 1
    assert (folder / "file").exists()
    assert len([*Path("/dev/fd").iterdir()]) == before


def test_a_link_to_nowhere_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match=r"/out'$"), own_folder(tmp_path / "out"):
        pass
