#!/usr/bin/env python3
"""Check that wheels hold phew's Python files, type information and extension, and nothing else.

The extension of wheels for Linux has code for CUDA devices.
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

ALLOWED = re.compile(
    r"phew(_cli)?/(\w+/)*\w+\.py"
    r"|phew/_core\.pyi"
    r"|phew/pages/page\.html"
    r"|phew/py\.typed"
    r"|phew/_core\.[\w-]+\.so"
    r"|torch_phew-[\w.]+\.dist-info/.+"
)
REQUIRED = [
    "phew/__init__.py",
    "phew_cli/__init__.py",
    "phew/_core.pyi",
    "phew/pages/page.html",
    "phew/py.typed",
]


def check(wheel: str) -> None:
    """Exit with a message that names what the wheel lacks, or what else it has."""
    files = zipfile.ZipFile(wheel)
    names = [name for name in files.namelist() if not name.endswith("/")]
    missing = [name for name in REQUIRED if name not in names]
    extensions = [name for name in names if re.fullmatch(r"phew/_core\.[\w-]+\.so", name)]
    if len(extensions) != 1:
        missing.append("phew/_core.*.so")
    elif "linux" in wheel and b".nv_fatbin" not in files.read(extensions[0]):
        missing.append("code for CUDA devices")
    unexpected = [name for name in names if not ALLOWED.fullmatch(name)]
    if missing or unexpected:
        sys.exit(f"{wheel}: missing {missing}, unexpected {unexpected}")
    print(f"{wheel}: {len(names)} files, {Path(wheel).stat().st_size / 1e6:.1f} MB")


for path in sys.argv[1:]:
    check(path)
