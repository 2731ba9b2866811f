"""Checks that masks stay with weights that are sharded, converted or loaded after pruning."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rank_networks import lenet5, shard
from torch import distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

import phew
from phew import Masks
from phew.distributed.sharding import whole


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 8), nn.Linear(8, 5))


def pruned_network() -> tuple[nn.Sequential, Masks]:
    model = network()
    return model, phew.prune(model, torch.zeros(2, 9), density=0.4)


def inputs_of(model: nn.Module) -> torch.Tensor:
    return torch.randn(3, 9, dtype=next(model.parameters()).dtype)


def train(model: nn.Module, *, forward_before_step: bool = False) -> None:
    """Train a step; a forward pass before it leaves FSDP2's weights gathered."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(inputs_of(model)).square().sum().backward()
        if forward_before_step:
            model(inputs_of(model))
        optimizer.step()
    for parameter, state in optimizer.state.items():
        kept = whole(parameter).ne(0)
        assert not whole(state["momentum_buffer"])[~kept].any()


def assert_held(model: nn.Module, masks: Masks) -> None:
    for module in model.modules():
        getattr(module, "reshard", lambda: None)()
    for name, mask in masks.items():
        parameter: Any = model.get_parameter(name)
        assert not whole(parameter)[~mask].any(), name
        assert whole(parameter)[mask].any(), name
        if parameter.grad is not None:
            assert not whole(parameter.grad)[~mask].any(), name


def check_sharding_after_pruning(folder: Path) -> None:
    for forward_before_step in (False, True):
        model, masks = pruned_network()
        before = [weakref.ref(parameter) for parameter in model.parameters()]
        fully_shard(model[0])
        fully_shard(model)
        train(model, forward_before_step=forward_before_step)
        assert isinstance(model[2].weight, DTensor)
        assert_held(model, masks)
        gc.collect()
        assert not any(parameter() is not None for parameter in before)
        phew.release(model)
        train(model)
        assert whole(model[2].weight)[~masks["2.weight"]].any()


def check_sharding_a_convolutional_network_after_pruning(folder: Path) -> None:
    model, inputs = lenet5()
    masks = phew.prune(model, inputs, density=0.1)
    shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(2):
        model(torch.randn_like(inputs)).square().sum().backward()
        optimizer.step()
    assert_held(model, masks)


def check_tensor_parallelism_after_pruning(folder: Path) -> None:
    model, masks = pruned_network()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    train(model)
    assert_held(model, masks)


def check_conversions_of_sharded_weights(folder: Path) -> None:
    conversions: list[Callable[[nn.Module], Any]] = [
        lambda model: model.double(),
        lambda model: model.to(torch.bfloat16).float(),
        lambda model: model.cpu(),
        lambda model: model.to_empty(device="cpu"),
    ]
    for convert in conversions:
        model, masks = network(), phew.sample_masks(network(), torch.zeros(2, 9), density=0.4)
        fully_shard(model)
        masks.apply(model)
        convert(model)
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.1)
        train(model)
        assert_held(model, masks)


def check_loading_into_sharded_weights(folder: Path) -> None:
    for assign in (False, True):
        model, masks = pruned_network()
        fully_shard(model)
        dense: dict[str, Any] = {
            name: torch.ones_like(p).detach() for name, p in model.state_dict().items()
        }
        model.load_state_dict(dense, assign=assign)
        assert_held(model, masks)
        train(model)
        assert_held(model, masks)
    model, masks = pruned_network()
    fully_shard(model)
    set_model_state_dict(model, dense)
    assert_held(model, masks)


def check_another_models_steps_beside_gathered_weights(folder: Path) -> None:
    model, masks = pruned_network()
    fully_shard(model)
    for _ in range(2):
        loss = model(inputs_of(model)).square().sum()
        train(network())
        loss.backward()
        torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.01).step()
        assert_held(model, masks)


def check_a_mask_of_another_sharding_is_named(folder: Path) -> None:
    model, _ = pruned_network()
    fully_shard(model[0])
    train(model)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model[0].weight = nn.Parameter(distribute_tensor(torch.ones(12, 9), mesh, [Replicate()]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=r"'0\.weight': it is sharded in another way than its"):
        optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step()
