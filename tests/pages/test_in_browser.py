"""Reports open in a browser: nothing is asked of a network, and nothing is amiss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsers import installed_browser
from command_line import run

COMMANDS = {
    "prune": ("--density", "0.1"),
    "inspect": ("--exclude", "fc3.*"),
    "compare": ("--methods", "phew,random", "--densities", "0.2,0.1"),
}
SCREENS: dict[str, dict[str, Any]] = {
    "desk": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
}
PROBE = """() => ({
    width: document.documentElement.scrollWidth,
    ids: [...document.querySelectorAll('[id]')].map(each => each.id),
    figures: [...document.querySelectorAll('svg')].map(each => each.getBoundingClientRect().width),
    tables: document.querySelectorAll('table').length,
    ink: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed_browser())
        yield browser
        browser.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("name", COMMANDS)
def test_a_report_opens_without_errors_and_requests(
    tmp_path: Path, browser: Any, name: str
) -> None:
    html = tmp_path / "report.html"
    result = run(name, "lenet5", *COMMANDS[name], "--html", str(html))
    assert result.exit_code == 0, result.stderr
    for screen, options in SCREENS.items():
        context = browser.new_context(**options)
        page = context.new_page()
        heard: list[str] = []
        page.on("console", lambda message, heard=heard: heard.append(message.text))
        page.on("pageerror", lambda error, heard=heard: heard.append(str(error)))
        page.on("request", lambda request, heard=heard: heard.append(request.url))
        page.goto(html.as_uri(), wait_until="networkidle")
        assert heard == [html.as_uri()], screen
        assert page.title() == f"phew {name} lenet5"
        found = page.evaluate(PROBE)
        # Wide figures and tables scroll in their own frames, never the page.
        assert found["width"] == options["viewport"]["width"], screen
        assert len(found["ids"]) == len(set(found["ids"]))
        assert found["tables"] > 0
        assert len(found["figures"]) == {"prune": 2, "inspect": 1, "compare": 3}[name]
        assert min(found["figures"]) > 300
        ink, paper = (sum(map(int, found[part][4:-1].split(","))) for part in ("ink", "paper"))
        assert (ink > paper) == (screen == "dark")
        context.close()
