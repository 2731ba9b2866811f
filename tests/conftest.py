from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--graphs", type=int, default=240, help="random graphs that engine and reference walk on"
    )


@pytest.fixture
def num_graphs(request: pytest.FixtureRequest) -> int:
    graphs: int = request.config.getoption("--graphs")
    return graphs
