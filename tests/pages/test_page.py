"""A page has all of what it is given, once, and no name in it is taken for HTML."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

import phew
from phew import pages, plot

HOSTILE = "<script>alert('1')</script> & \"x\""


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
    graph = phew.capture(model, torch.zeros(1, 8))
    masks = phew.sample_masks(graph, density=0.5)
    return {
        "Layers": plot.masks(masks),
        "Network": plot.network(graph, masks),
        "Counts": masks.summary(),
        "Links": phew.inspect(graph),
    }


def tree_of(page: str) -> ElementTree.Element:
    """Parse a page as XML, which it is but for elements without an end."""
    text = re.sub(r"<(meta|link)\b([^>]*)>", r"<\1\2/>", page.removeprefix("<!doctype html>"))
    return ElementTree.fromstring(text)


def test_every_part_is_there_with_its_heading(parts: dict[str, Any]) -> None:
    page = pages.page("Two layers", parts, facts={"seed": "3"}, warnings=["Take care."])
    tree = tree_of(page)
    headings = ["".join(heading.itertext()) for heading in tree.iter("h2")]
    assert headings == ["Warnings", *parts]
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    links = [link.get("href", "").removeprefix("#") for link in tree.iter("a")]
    assert len(links) == 4
    assert set(links) <= set(ids)
    words = " ".join(tree.itertext())
    assert "Take care." in words
    assert next(tree.iter("dd")).text == "3"
    for row in parts["Counts"].rows:
        assert row.parameter in words


def test_figures_and_tables_can_be_listened_to(parts: dict[str, Any]) -> None:
    tree = tree_of(pages.page("Two layers", parts))
    drawn = [each for each in tree.iter() if each.tag.endswith("svg")]
    assert [(each.get("role"), each.get("aria-label")) for each in drawn] == [
        ("img", "Kept weights and active units of each layer"),
        ("img", "The network's blocks from input to output: 1 0, 1 1"),
    ]
    tables = [*tree.iter("table")]
    assert len(tables) == 3
    for table in tables:
        for row in table.iter("tr"):
            first = row[0]
            assert first.tag == "th"
            assert first.get("scope") in ("row", "col")


def test_a_page_needs_no_other_file(parts: dict[str, Any]) -> None:
    page = pages.page("Two layers", parts)
    assert re.findall(r"<(?:script|iframe|object|img)\b", page) == []
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []
    assert re.findall(r"url\((?!#figure-)[^)]*\)", page) == []
    assert "@import" not in page


def test_names_are_no_html() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("<b>&amp;", nn.Linear(4, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.get_submodule("<b>&amp;")(x)  # type: ignore[no-any-return]

    graph = phew.capture(Layer(), torch.zeros(1, 4))
    masks = phew.sample_masks(graph, density=0.5)
    parts: dict[str, Any] = {
        HOSTILE: masks.summary(),
        "x": plot.network(graph, masks),
        "y": phew.inspect(graph),
    }
    tree = tree_of(pages.page(HOSTILE, parts, facts={HOSTILE: HOSTILE}, warnings=[HOSTILE]))
    assert [*tree.iter("script")] == [*tree.iter("b")] == []
    words = [text.strip() for text in tree.itertext()]
    # In the title, its heading, that of the part, the link to it, the fact, its name, the warning.
    assert words.count(HOSTILE) == 7
    assert "<b>&amp;.weight" in words


def test_what_notebooks_show_otherwise_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^parts\['A'\] must be a figure or have a table"):
        pages.page("title", {"A": 3})  # type: ignore[dict-item]
