"""Processes that walk together have the masks of one, or an error each."""

from __future__ import annotations

from itertools import chain, product
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from rank_checks import CHECKS, run
from rank_networks import CASES
from torch.multiprocessing.spawn import spawn

import phew
from phew.walks.plan import own_walks

Outcomes: TypeAlias = list[dict[str, str]]

LAST = "a rank stops"
SLOW = [name for name in CHECKS if "resnet20" in name or "llama" in name]
QUICK = [*(name for name in CHECKS if name not in SLOW and name != LAST), LAST]
OF_FOUR = [
    *(f"{kind} {case}" for kind in ("whole", "sharded") for case in CASES),
    "training",
    "tensor parallelism",
]


def outcomes_of(num_ranks: int, names: list[str], folder: Path) -> Outcomes:
    spawn(run, (names, num_ranks, str(folder)), nprocs=num_ranks)
    return [torch.load(path) for path in sorted(folder.glob("*.pt"))]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes_of(2, QUICK, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def slow_of_two(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes_of(2, SLOW, tmp_path_factory.mktemp("slow_two"))


@pytest.fixture(scope="module")
def of_four(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    return outcomes_of(4, OF_FOUR, tmp_path_factory.mktemp("four"))


@pytest.mark.parametrize("name", QUICK)
def test_two_ranks(name: str, of_two: Outcomes) -> None:
    outcomes = [outcomes[name] for outcomes in of_two if name in outcomes]
    assert outcomes == [""] * (1 if name == LAST else 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_two_ranks_of_larger_networks(name: str, slow_of_two: Outcomes) -> None:
    assert [outcomes[name] for outcomes in slow_of_two] == [""] * 2


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_FOUR)
def test_four_ranks(name: str, of_four: Outcomes) -> None:
    assert [outcomes[name] for outcomes in of_four] == [""] * 4


def test_a_group_must_be_a_process_group() -> None:
    model = torch.nn.Linear(4, 2)
    not_a_group: Any = 2
    with pytest.raises(TypeError, match=r"^group must be a torch\.distributed\.ProcessGroup, "):
        phew.prune(model, torch.zeros(1, 4), density=0.5, group=not_a_group)


@pytest.mark.parametrize("both_directions", [True, False])
def test_each_walk_is_one_ranks(both_directions: bool) -> None:
    for number, walks in product(range(1, 8), (range(6, 25), range(3, 4), range(5, 5))):
        parts = parts_of_all(number, walks, both_directions=both_directions)
        assert sorted(walk for part in parts for walk in part) == list(walks)
        assert max(map(len, parts)) <= min(map(len, parts)) + 1


def test_ranks_walk_in_one_direction_where_they_may() -> None:
    assert [
        {walk % 2 for walk in part} for part in parts_of_all(3, range(60), both_directions=False)
    ] == [
        {0},
        {0, 1},
        {1},
    ]
    for number, length in product((2, 4, 6), range(60)):
        for part in parts_of_all(number, range(length), both_directions=False):
            assert len({walk % 2 for walk in part}) <= 1


def parts_of_all(number: int, walks: range, *, both_directions: bool) -> list[list[int]]:
    """Return the walks of each of some ranks."""
    parts = [
        own_walks(walks, rank=rank, num_ranks=number, both_directions=both_directions)
        for rank in range(number)
    ]
    return [[*chain.from_iterable(part)] for part in parts]
