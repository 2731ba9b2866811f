"""The tree is as docs/map.md says: it names every file, and a file uses only files below it.

The map lists files from top to bottom. So there is no upward import, and hence no circle.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = ROOT / "docs" / "map.md"

FOLDERS = ("phew", "phew_cli", "csrc", "benchmarks", "tests", "examples", "docs")
SUFFIXES = {".py", ".pyi", ".cpp", ".hpp", ".html", ".md", ".svg"}


def listed_files() -> list[list[str]]:
    """Return the lines of the map, each with the files that it names."""
    blocks = re.findall(r"```text\n(.*?)```", MAP.read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line]
    return [list(expanded(line.split()[0])) for line in lines]


def expanded(name: str) -> Iterator[str]:
    """Expand a name such as csrc/phew/graph/directed_graph.{hpp,cpp}."""
    stem, brace, suffixes = name.partition("{")
    yield from [stem + suffix for suffix in suffixes.rstrip("}").split(",")] if brace else [name]


LINES = listed_files()
LINE_OF = {file: line for line, files in enumerate(LINES) for file in files}


def existing_files() -> Iterator[str]:
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in SUFFIXES and "__pycache__" not in file.parts:
                yield file.relative_to(ROOT).as_posix()


def imported_by(file: str, root: str) -> Iterator[str]:
    """Yield the files below a root folder that a Python file imports, wherever it does."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            # `from a import b` imports a module b or a name b of the module a.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            found = next(filter(None, map(LINE_OF_MODULE[root].get, parents(name))), None)
            if found is not None and found != file:
                yield found


def parents(name: str) -> list[str]:
    """Return a dotted name and the names of the modules that it may be in, nearest first."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


def modules_below(root: str) -> dict[str, str]:
    """Return the files below a folder by the names that they are imported under."""
    modules = {}
    for file in LINE_OF:
        path = Path(file)
        if file.startswith(f"{root}/") and path.suffix in {".py", ".pyi"}:
            name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
            # Benchmarks are scripts, which import each other from their own folder.
            modules[name.removeprefix("benchmarks.")] = file
    return modules


PACKAGES = modules_below("phew") | modules_below("phew_cli")
LINE_OF_MODULE = {
    "phew": PACKAGES,
    "phew_cli": PACKAGES,
    "benchmarks": modules_below("benchmarks"),
}


def included_by(file: str) -> list[str]:
    includes = re.findall(r'#include "(phew/[^"]+)"', (ROOT / file).read_text())
    return [f"csrc/{name}" for name in includes]


def uses_of(root: str) -> list[tuple[str, str]]:
    """Return the pairs of a file below a root and one that it imports or includes."""
    files = [file for file in LINE_OF if file.startswith(f"{root}/")]
    if root == "csrc":
        sources = [file for file in files if Path(file).suffix in {".cpp", ".hpp"}]
        return [(file, used) for file in sources for used in included_by(file)]
    sources = [file for file in files if file.endswith(".py")]
    return [(file, used) for file in sources for used in imported_by(file, root)]


def test_the_map_names_every_file_once() -> None:
    names = [file for files in LINES for file in files]
    assert sorted(names) == sorted(existing_files())


@pytest.mark.parametrize("root", ["phew", "phew_cli", "csrc", "benchmarks"])
def test_files_use_only_files_below_them(root: str) -> None:
    uses = uses_of(root)
    assert len(uses) > 50
    upward = [f"{file} uses {used}" for file, used in uses if LINE_OF.get(used, -1) < LINE_OF[file]]
    assert upward == []


@pytest.mark.parametrize("root", ["phew", "csrc/phew", "benchmarks"])
def test_each_folder_is_listed_in_one_piece(root: str) -> None:
    folders = [
        Path(files[0]).parent.relative_to(root).parts[:1]
        for files in LINES
        if files[0].startswith(f"{root}/")
    ]
    pieces = [folder for folder, _ in itertools.groupby(filter(None, folders))]
    assert len(pieces) == len(set(pieces))


DOCUMENTS = [
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
]


@pytest.mark.parametrize("document", sorted(DOCUMENTS))
def test_documents_name_files_that_are_there(document: str) -> None:
    text = (ROOT / document).read_text()
    # Neither URLs nor names such as flow.{hpp,cpp}, which the map alone has.
    named = re.findall(
        r"(?<![\w/])(?:phew|csrc|benchmarks|tests|docs)/[\w/.-]*\w(?![\w{]|\.{)", text
    )
    assert [name for name in named if not (ROOT / name).exists()] == []
