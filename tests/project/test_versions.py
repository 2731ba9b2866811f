"""The version stands in several files, and is the same in all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import phew

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("CHANGELOG.md", r"## (\d\S+) \(.*\)"),
        ("CITATION.cff", r"version: (.*)"),
        ("phew/_core.pyi", r"__version__: str = '(.*)'"),
        ("pyproject.toml", r'version = "(.*)"'),
    ],
)
def test_version_is_that_of_the_package(file: str, line: str) -> None:
    versions = re.findall(f"^{line}$", (ROOT / file).read_text(), re.MULTILINE)
    assert versions[0] == phew.__version__
