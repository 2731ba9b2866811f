"""Debuggers show one line for each object, and notebooks a table in HTML."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
import torch

import phew
from phew import analysis
from phew.analysis.comparison import Method
from phew.models import resnet_cifar


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    model = resnet_cifar(20)
    example = torch.zeros(1, 3, 32, 32)
    graph = phew.capture(model, example)
    masks = phew.sample_masks(graph, density=0.05)
    methods: dict[str, Method] = {
        "PHEW": phew.sample_masks,
        "random": phew.baselines.random,
    }
    return {
        "graph": graph,
        "masks": masks,
        "summary": masks.summary(),
        "report": phew.inspect(graph),
        "analysis": analysis.analyze(graph, masks=masks),
        "comparison": analysis.compare(
            model, example, methods=methods, densities=[0.1, 0.05], progress=False
        ),
        "sparse report": phew.to_sparse(model, masks, example_inputs=example),
    }


NAMES = ("graph", "masks", "summary", "report", "analysis", "comparison", "sparse report")


@pytest.mark.parametrize("name", NAMES)
def test_a_repr_is_one_short_line(shown: dict[str, Any], name: str) -> None:
    text = repr(shown[name])
    assert "\n" not in text
    assert len(text) < 250
    assert text.startswith(f"{type(shown[name]).__name__}(")


@pytest.mark.parametrize("name", NAMES)
def test_html_has_what_the_text_has(shown: dict[str, Any], name: str) -> None:
    html = shown[name]._repr_html_()
    words = " ".join(ElementTree.fromstring(f"<div>{html}</div>").itertext())
    text = str(shown[name] if name != "masks" else shown[name].summary())
    shown_words = {word for word in text.split() if not set(word) <= set("-")}
    assert shown_words <= set(words.replace(",", ", ").split()) | set(words.split())


@pytest.mark.parametrize("name", ["summary", "analysis", "comparison", "sparse report"])
def test_tables_are_as_narrow_as_they_are_asked_to_be(shown: dict[str, Any], name: str) -> None:
    assert max(map(len, shown[name].table(60).splitlines())) <= 60
    assert shown[name].table() == str(shown[name])


def test_tables_name_their_rows_and_columns(shown: dict[str, Any]) -> None:
    for name in NAMES[2:]:
        tree = ElementTree.fromstring(f"<div>{shown[name]._repr_html_()}</div>")
        for row in tree.iter("tr"):
            assert row[0].get("scope") in ("row", "col"), name
    captions = [
        str(caption.text).partition(" (")[0].partition(":")[0]
        for caption in ElementTree.fromstring(f"<div>{shown['report']._repr_html_()}</div>").iter(
            "caption"
        )
    ]
    assert captions == ["Weighted links", "Forks", "Parameters that are not prunable"]


def test_reprs_say_what_there_is(shown: dict[str, Any]) -> None:
    assert repr(shown["graph"]).startswith("WalkGraph(32 spaces, 22 weighted and ")
    assert repr(shown["comparison"]) == "Comparison(PHEW, random at 10%, 5%)"
    assert "of 270,896 weights kept (5.0" in repr(shown["summary"])
