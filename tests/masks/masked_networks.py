"""Small masked networks, their training, and the check that masks hold."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from phew.masks.masks import Masks


def signal_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(2, 6, 3, padding=1),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 8, 4),
    )


def random_masks(model: nn.Module, density: float = 0.3) -> Masks:
    generator = torch.Generator().manual_seed(1)
    return Masks(
        {
            name: torch.rand(parameter.shape, generator=generator) < density
            for name, parameter in model.named_parameters()
            if parameter.dim() > 1
        }
    )


def masked_network() -> tuple[nn.Sequential, Masks]:
    model = signal_network()
    masks = random_masks(model)
    masks.apply(model)
    return model, masks


def loss_of(model: nn.Module) -> torch.Tensor:
    dtype = next(model.parameters()).dtype
    return model(torch.randn(5, 2, 8, dtype=dtype)).square().sum()


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    steps: int = 10,
    loss_of: Callable[[nn.Module], torch.Tensor] = loss_of,
) -> None:
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()


@contextmanager
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def sgd_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.1)


def assert_masked(model: nn.Module, masks: Masks, prefix: str = "") -> None:
    """The pruned weights are exactly zero, and the kept ones are not."""
    for name, mask in masks.items():
        parameter = model.get_parameter(prefix + name)
        assert (parameter[~mask] == 0).all(), name
        assert (parameter[mask] != 0).all(), name


def train_distributed(rank: int, folder: str) -> None:
    """Train as one of two processes, on its own data, and save the result.

    Here, where a spawned process can import it.
    """
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    model, masks = masked_network()
    parallel = nn.parallel.DistributedDataParallel(model)
    torch.manual_seed(rank)
    train(parallel)
    assert_masked(model, masks)
    torch.save((model.state_dict(), model[0].weight.grad), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def example_masks() -> Masks:
    generator = torch.Generator().manual_seed(0)
    return Masks(
        {
            "1.weight": torch.rand(16, 20, generator=generator) < 0.25,
            "0.weight": torch.rand(20, 3, generator=generator) < 0.25,
        },
        unit_masks={"0.bias": torch.rand(20, generator=generator) < 0.9},
        active_units={"1.weight": (15, 16), "0.weight": (12, 20)},
        info={"method": "phew", "density": 0.25, "seed": 3, "num_walks": 1234, "nested": True},
    )
