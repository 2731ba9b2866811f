"""Files that are whole or not there."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{32}\.partial")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give an empty file to be written, which takes the place of `path` at the end of the block.

    The file lies beside it, so that the file system can rename it at once: `.masks.safetensors.` +
    32 hexadecimal digits + `.partial` becomes `masks.safetensors`.

    Raises:
        OSError: If the file cannot be written; it names the path.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        try:
            partial.touch()
            yield partial
            # The content must be on disk before the name is. (Windows flushes only what is open
            # for writing.)
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        # The number makes this an error of the same class; it names the path that was asked for.
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that exists is replaced.

    Raises:
        OSError: If the file cannot be written.
    """
    with written_whole(path) as partial:
        partial.write_bytes(content)


def remove_partial(folder: Path) -> None:
    """Remove the files that killed processes have not finished writing."""
    for file in folder.iterdir():
        if is_partial(file):
            file.unlink()


def is_partial(file: Path) -> bool:
    """Return whether a file has the name of one that is being written."""
    return _PARTIAL.fullmatch(file.name) is not None


@contextmanager
def own_folder(path: Path) -> Iterator[None]:
    """Make a folder, if there is none, and lock it against other processes that call this.

    A new folder is removed at the end of the block if nothing was written there.

    Raises:
        OSError: If it cannot be made, or the system has no locks of folders; BlockingIOError if
            another process has locked it.
    """
    _check_can_lock(path)
    is_new = True
    try:
        path.mkdir()
    except FileExistsError:
        is_new = False
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(folder, path)
        try:
            yield
        finally:
            if is_new:
                with suppress(OSError):
                    path.rmdir()
    finally:
        os.close(folder)


def _check_can_lock(path: Path) -> None:
    if importlib.util.find_spec("fcntl") is None:
        raise OSError(
            errno.ENOTSUP,
            "Checkpoints can be pruned only where folders can be locked, on Linux and macOS, "
            f"got {sys.platform}. Load the model and use phew.prune",
            str(path),
        )


def _lock(folder: int, path: Path) -> None:
    import fcntl  # which Windows lacks

    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            error.errno, "Another process writes to this folder", str(path)
        ) from error
