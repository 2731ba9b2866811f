"""A model has the same walk graph on every release of torch, so its masks are the same too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from attention_networks import ATTENTION_NETWORKS
from capture_networks import NETWORKS
from weight_networks import WEIGHT_NETWORKS

import phew
from phew.graph.digests import digest_of_graph
from phew.models import NETWORKS as BUILT_IN

WRITTEN = NETWORKS | ATTENTION_NETWORKS | WEIGHT_NETWORKS
FILE = Path(__file__).with_name("walk_graphs.json")
"""Per network the digest and the size of its graph. `--write-walk-graphs` writes it anew."""


def graph_of(name: str) -> phew.WalkGraph:
    if name in BUILT_IN:
        with torch.device("meta"):
            model = BUILT_IN[name].build()
        return phew.capture(model, torch.zeros(1, *BUILT_IN[name].input_shape))
    torch.manual_seed(0)
    build, shapes = WRITTEN[name]
    return phew.capture(build(), tuple(torch.rand(shape) for shape in shapes))


@pytest.mark.filterwarnings("ignore:.*its weights are computed:phew.LeftDenseWarning")
def test_graphs_are_those_of_every_release_of_torch(request: pytest.FixtureRequest) -> None:
    graphs = {name: graph_of(name) for name in (*BUILT_IN, *WRITTEN)}
    told = {name: f"{digest_of_graph(graph)} {graph}" for name, graph in graphs.items()}
    if request.config.getoption("--write-walk-graphs"):
        FILE.write_text(json.dumps(told, indent=2) + "\n")
    assert told == json.loads(FILE.read_text())
