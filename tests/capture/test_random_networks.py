"""Networks of operations drawn at random are wired as autograd sees them."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return, no-untyped-call, attr-defined"
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wiring_oracle import assert_wired_like_autograd

import phew

pytestmark = [
    pytest.mark.filterwarnings("ignore::phew.LeftDenseWarning"),
    pytest.mark.filterwarnings("ignore::phew.CollapseWarning"),
]

NUM_FEATURES = 6
MASK = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 0.5])
FLAGS = torch.tensor([True, True, False, True, False, False])


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, potential: Tensor) -> Tensor:
        return (potential > 0).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


def written(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 1:3] = 0
    return x


def spiked(x: Tensor) -> Tensor:
    spikes = torch.zeros_like(x)
    spikes[x > 0] = 1
    return spikes


ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "mask": lambda x: x * MASK,
    "exponential": torch.exp,
    "leaky ReLU": F.leaky_relu,
    "where or 0": lambda x: torch.where(FLAGS, x, 0.0),
    "filled with 0": lambda x: x.masked_fill(FLAGS, 0.0),
    "fill by index": lambda x: x.index_fill(1, torch.tensor([0, 4]), 0.0),
    "write zeros": written,
    "pad": lambda x: F.pad(x[:, 1:5], (2, 0)),
    "pad one": lambda x: F.pad(x[:, :1], (1, 4)),
    "zeros before": lambda x: torch.cat([torch.zeros(len(x), 2), x[:, 2:]], 1),
    "roll": lambda x: x.roll(1, 1),
    "pool": lambda x: F.pad(F.max_pool1d(x.unsqueeze(1), 2).flatten(1), (1, 2)),
    "spike": lambda x: Spike.apply(x),
    "spike by index": spiked,
    "sign": lambda x: x.sign().int().float(),
    "round": lambda x: (x * 4).round().long() / 4,
    "flags": lambda x: ((x > 0) & FLAGS).float(),
}
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "subtract": torch.sub,
    "maximum": torch.maximum,
    "multiply": torch.mul,
    "where constant": lambda x, y: torch.where(FLAGS, x, y),
    "where positive": lambda x, y: torch.where(x > 0, y, 0.0),
    "same sign": lambda x, y: (x.sign() == y.sign()).float(),
    "filled by flags": lambda x, y: x.masked_fill(y < 0, 0.0),
    "halves": lambda x, y: torch.cat([x[:, :3], y[:, 3:]], 1),
    "couple": lambda x, y: x * MASK + y * (MASK == 0),
}


FLAGGED = {"spike", "spike by index", "sign", "round", "flags", "same sign"}
FLAGGED |= {"where positive", "filled by flags"}
"""Operations that make flags or integers, which hold no units where they are of raw inputs."""


class Drawn(nn.Module):
    """Layers and operations, each of which takes results of earlier ones.

    Attributes:
        steps: The operations by name, with the numbers of the results that they take.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        self.layers = nn.ModuleList()
        self.steps: list[tuple[str, int, int]] = []
        names = [*ONE, *TWO]
        raw = {0}
        for number in range(1, 10):
            name = "layer" if random.random() < 0.3 else names[random.integers(len(names))]
            first, second = (int(index) for index in random.integers(number, size=2))
            first = max(first, number - 3)
            operands = {first, second} if name in TWO else {first}
            if name in FLAGGED and operands & raw:
                name = "subtract" if name in TWO else "leaky ReLU"
            if name != "layer" and operands <= raw:
                raw.add(number)
            self.steps.append((name, first, second))
            if name == "layer":
                size = 1 if random.random() < 0.3 else NUM_FEATURES
                self.layers.append(nn.Linear(NUM_FEATURES, size))
        self.head = nn.Linear(NUM_FEATURES, 2)

    def forward(self, x: Tensor) -> Tensor:
        layers = iter(self.layers)
        results = [x]
        for name, first, second in self.steps:
            if name == "layer":
                result = next(layers)(results[first])
                result = result.repeat_interleave(NUM_FEATURES // result.shape[1], 1)
            elif name in ONE:
                result = ONE[name](results[first])
            else:
                result = TWO[name](results[first], results[second])
            results.append(result)
        return self.head(results[-1])


@pytest.mark.parametrize("seed", range(100))
def test_wiring_is_where_autograd_sees_a_dependence(seed: int) -> None:
    torch.manual_seed(seed)
    model, inputs = Drawn(seed), (torch.rand(2, NUM_FEATURES),)
    graph = phew.capture(model, inputs)
    assert graph.notes.approximations == (), model.steps
    try:
        assert_wired_like_autograd(graph, model, inputs)
    except AssertionError as error:
        raise AssertionError(model.steps) from error
