from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
import torch
from browsers import NAMES, installed_browser

from phew.walks.devices import built_with_cuda


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--graphs", type=int, default=240, help="random graphs that engine and reference walk on"
    )
    parser.addoption(
        "--write-walk-graphs",
        action="store_true",
        help="write tests/capture/walk_graphs.json anew, after a change of what capture does",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("cuda") and not (built_with_cuda and torch.cuda.is_available()):
        pytest.skip("needs phew with CUDA and a device")
    if item.get_closest_marker("browser"):
        _check_browser()


def _check_browser() -> None:
    """Skip a test that needs a browser where there is none; CI must have one."""
    if installed_browser() and find_spec("playwright"):
        return
    reason = f"needs playwright and one of {', '.join(NAMES)}: apt-get install chromium"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def num_graphs(request: pytest.FixtureRequest) -> int:
    graphs: int = request.config.getoption("--graphs")
    return graphs
