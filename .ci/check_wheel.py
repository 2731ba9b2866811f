#!/usr/bin/env python3
"""Check that wheels hold phew's Python files, type information and extension, and nothing else."""

from __future__ import annotations

import re
import sys
import zipfile

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
    """Exit with a message that names the wheel's missing or unexpected files."""
    names = [name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")]
    missing = [name for name in REQUIRED if name not in names]
    if not any(name.startswith("phew/_core.") and name.endswith(".so") for name in names):
        missing.append("phew/_core.*.so")
    unexpected = [name for name in names if not ALLOWED.fullmatch(name)]
    if missing or unexpected:
        sys.exit(f"{wheel}: missing {missing}, unexpected {unexpected}")
    print(f"{wheel}: {len(names)} files")


for path in sys.argv[1:]:
    check(path)
