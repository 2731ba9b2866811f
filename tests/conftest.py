from __future__ import annotations

import pytest
import torch

from phew.walks.devices import built_with_cuda


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--graphs", type=int, default=240, help="random graphs that engine and reference walk on"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not (built_with_cuda and torch.cuda.is_available()):
        pytest.skip("needs phew with CUDA and a device")


@pytest.fixture
def num_graphs(request: pytest.FixtureRequest) -> int:
    graphs: int = request.config.getoption("--graphs")
    return graphs
