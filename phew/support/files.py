"""Files that are whole or not there."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_PARTIAL = re.compile(r"\.phew\.[0-9a-f]{32}\.partial")


def check_regular(path: Path) -> None:
    """Raise an error that names a path, unless a regular file is there.

    Whoever opens a FIFO waits for another process, and a device has no end.

    Raises:
        OSError: If there is no such file, or its name is too long.
        ValueError: If it is a FIFO, a socket or a device, or the name is none that files can have.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:
        raise ValueError(
            f"path must be a name that a file can have, got {str(path)!r}: {error}."
        ) from error
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise ValueError(f"{str(path)!r} must be a regular file, got a FIFO, a socket or a device.")


def check_replaceable(path: Path) -> None:
    """Raise an error that names a path, unless a regular file is there or nothing.

    Raises:
        OSError: If a folder is there, or the name is too long.
        ValueError: As from `check_regular`.
    """
    with suppress(FileNotFoundError):
        check_regular(path)


@contextmanager
def written_whole(path: Path, *, mode_of: Path | None = None) -> Iterator[Path]:
    """Give an empty file to be written, which takes the place of `path` at the end of the block.

    The file lies beside it, so that the file system can rename it at once: `.phew.` + 32
    hexadecimal digits + `.partial` becomes `masks.safetensors`.

    Args:
        path: The file.
        mode_of: A file whose permissions the new one gets; by default those of any new file. Until
            it is whole, it can be read by its owner only.

    Raises:
        OSError: If the file cannot be written; it names the path.
        ValueError: As from `check_regular`.
    """
    check_replaceable(path)
    partial = path.with_name(f".phew.{uuid.uuid4().hex}.partial")
    try:
        try:
            partial.touch(0o666 if mode_of is None else 0o600)
            yield partial
            # The content must be on disk before the name is.
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            if mode_of is not None:
                partial.chmod(stat.S_IMODE(mode_of.stat().st_mode))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        names = (error.filename, error.filename2)
        if error.errno is None or (any(names) and str(partial) not in names):
            raise
        # The number makes this an error of the same class. One of a copy names its source too.
        is_of_copy = error.filename2 == str(partial)
        files = (error.filename, None, str(path)) if is_of_copy else (str(path),)
        raise OSError(error.errno, error.strerror, *files) from error


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
        OSError: If it cannot be made; BlockingIOError if another process has locked it.
    """
    folder = None
    while folder is None:
        is_new = True
        try:
            path.mkdir()
        except FileExistsError:
            is_new = False
        folder = _locked(path)
    try:
        yield
    finally:
        if is_new:
            with suppress(OSError):
                path.rmdir()
        os.close(folder)


def _locked(path: Path) -> int | None:
    """Lock a folder and return its descriptor; None if it is removed meanwhile.

    A call that made the folder, wrote nothing and ends removes it, and only then unlocks it.
    """
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        if path.is_symlink():
            raise
        return None
    with ExitStack() as unless_locked:
        unless_locked.callback(os.close, folder)
        _lock(folder, path)
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(folder)):
                unless_locked.pop_all()
                return folder
    return None


def _lock(folder: int, path: Path) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(
            error.errno, "Another process writes to this folder", str(path)
        ) from error
