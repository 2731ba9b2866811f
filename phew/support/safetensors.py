"""Safetensors files, which safetensors itself checks before anything is read from them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors

from phew.support.files import check_regular


@contextmanager
def open_checked(path: Path, framework: str) -> Iterator[Any]:
    """Give a safetensors file, opened by `safetensors.safe_open`, if it is one without faults.

    Args:
        path: The file.
        framework: "pt", whose tensors are parts of the file, mapped into memory; or "numpy", to
            read no tensors: systems may refuse to map files that are larger than their memory.

    Raises:
        OSError: If the file cannot be read; it names the path.
        ValueError: If it is cut off, damaged, or no regular file; the message names the path.
    """
    check_regular(path)
    # Errors of opening name the path, which those of safetensors do not.
    path.open("rb").close()
    try:
        with safetensors.safe_open(path, framework=framework) as file:
            yield file
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{str(path)!r} must be a whole safetensors file, got one that is cut off or damaged: "
            f"{error}. Copy it again."
        ) from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno or errno.EIO, str(error), str(path)) from error
