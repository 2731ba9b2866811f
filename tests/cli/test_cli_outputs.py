"""Commands draw figures and write reports, or say before any work why they cannot."""

from __future__ import annotations

import re
import sys
from html import unescape
from pathlib import Path

import pytest
from command_line import plain, run

import phew

NETWORK = ("masked_networks:signal_network", "--input-shape", "2,8")
COMMANDS = {
    "prune": ("prune", *NETWORK, "--density", "0.4", "--seed", "3"),
    "inspect": ("inspect", *NETWORK),
    "compare": ("compare", *NETWORK, "--methods", "phew,random", "--densities", "0.5,0.3"),
}


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo that the command line puts the current directory first."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize("name", COMMANDS)
def test_figures_and_reports_are_written_beside_what_is_printed(tmp_path: Path, name: str) -> None:
    figure, html = tmp_path / "figure.png", tmp_path / "report.html"
    alone = run(*COMMANDS[name])
    result = run(*COMMANDS[name], "--figure", str(figure), "--html", str(html))
    assert result.exit_code == 0, result.stderr
    without_seconds = re.compile(r" +\d+\.\d\d( s;|$)", re.MULTILINE)
    assert without_seconds.sub("", result.stdout) == without_seconds.sub("", alone.stdout)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.png", "report.html"]
    page = unescape(html.read_text())
    command = " ".join([*COMMANDS[name], "--figure", str(figure), "--html", str(html)])
    (shown,) = re.findall(r'<dd class="command">(.*?)</dd>', page)
    assert sorted(shown.split()) == sorted(f"phew {command}".split())
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd.*?>(.*?)</dd>", page))
    assert facts["phew"] == phew.__version__
    assert facts["input shape"] == "2 x 8"
    assert facts["seed of initial weights"] == "0"
    digests = {name: fact for name, fact in facts.items() if name.startswith("digest")}
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests.values())
    assert list(digests) == ["digest of the graph", "digest of the weights"]
    assert facts.get("seed") == {"prune": "3", "compare": "0"}.get(name)


def test_digests_tell_networks_apart(tmp_path: Path) -> None:
    def digests(*options: str) -> list[str]:
        html = tmp_path / "report.html"
        assert run(*COMMANDS["prune"], *options, "--html", str(html)).exit_code == 0
        return re.findall(r"<dd>([0-9a-f]{16})</dd>", html.read_text())

    graph, weights = digests()
    assert digests("--threads", "1", "--seed", "4") == [graph, weights]
    assert digests("--sparse") == [graph, weights]
    other_graph, other_weights = digests("--init-seed", "4")
    assert other_graph == graph
    assert other_weights != weights


def test_reports_tell_warnings(tmp_path: Path) -> None:
    html = tmp_path / "report.html"
    options = ("--input-shape", "8", "--html", str(html))
    result = run("inspect", "small_networks:Orthogonal", *options)
    assert result.exit_code == 0
    (line,) = result.stderr.splitlines()
    (warning,) = re.findall(r"<li>(phew.*?)</li>", html.read_text())
    assert f"phew: {unescape(warning)}" == line


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--figure", "x.jpg"),
            "--figure must end in .png, .svg or .pdf, got 'x.jpg'. Name it 'x.png', for example.",
        ),
        (
            ("--figure", "folder"),
            "--figure must end in .png, .svg or .pdf, got 'folder'. "
            "Name it 'folder.png', for example.",
        ),
        (
            ("--html", "x.txt"),
            "--html must end in .html, got 'x.txt'. Name it 'x.html', for example.",
        ),
        (
            ("--html", "missing/x.html"),
            "--html must be a file in a folder that exists, got 'missing/x.html'. "
            "Make the folder, or name another.",
        ),
        (
            ("--figure", "x.png", "--html", "folder.html"),
            "--html must be a file in a folder that exists, got 'folder.html'. "
            "Make the folder, or name another.",
        ),
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    # The network is looked for only after the options.
    command, _, _, _, *others = COMMANDS[name]
    result = run(command, "no_such_network", *others, *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == f"phew: {message}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]


def test_without_matplotlib_nothing_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "phew.plot", raising=False)
    for option, name in (("--figure", "x.png"), ("--html", "x.html")):
        result = run("inspect", "no_such_network", option, str(tmp_path / name))
        assert result.exit_code == 2
        assert result.stderr == (
            "phew: phew.plot needs matplotlib: pip install 'torch-phew[plot]'.\n"
        )
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_the_options(name: str) -> None:
    text = plain(run(name, "--help").stdout)
    assert "--figure" in text
    assert "--html" in text
