"""Files that are whole or not there."""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PARTIAL = re.compile(r"\..+\.[0-9a-f]{32}\.partial")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give an empty file to be written, which takes the place of another when that is done.

    Raises:
        OSError: If the file cannot be written; it names the path.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        try:
            partial.touch()
            yield partial
            # So that the name is not on disk before the content is.
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        # Of the same class by its number, but naming the path that was asked for.
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; one that exists is replaced.

    Raises:
        OSError: If the file cannot be written.
    """
    with written_whole(path) as partial:
        partial.write_bytes(content)


def remove_partial(folder: Path) -> None:
    """Remove what processes that were killed left of files that were not whole."""
    for file in folder.iterdir():
        if is_partial(file):
            file.unlink()


def is_partial(file: Path) -> bool:
    """Return whether a file is one that was not whole."""
    return _PARTIAL.fullmatch(file.name) is not None


@contextmanager
def own_folder(path: Path) -> Iterator[None]:
    """Make a folder, if there is none, and keep other processes that use this from it.

    What is made is removed if nothing is written there.

    Raises:
        OSError: If it cannot be made; BlockingIOError if another process has it.
    """
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


def _lock(folder: int, path: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            error.errno, "Another process writes to this folder", str(path)
        ) from error
