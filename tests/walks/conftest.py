from __future__ import annotations

import pytest
from walk_engines import EngineOn


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def engine(request: pytest.FixtureRequest) -> EngineOn:
    """Makes the engine of each device in turn."""
    return EngineOn(request.param)
