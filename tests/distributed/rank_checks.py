"""Checks that processes make while they walk together, in a module that they can import."""

from __future__ import annotations

import dataclasses
import datetime
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import rank_errors
import rank_holds
import torch
from equality import assert_same_masks
from rank_networks import CASES, lenet5, resnet20, sample, shard
from small_networks import Permuted
from torch import distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_module
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

import phew
from phew import Masks
from phew.analysis import analyze
from phew.distributed.ranks import Ranks
from phew.distributed.sharding import whole
from phew.graph.digests import digest_of_graph
from phew.walks import sampler as walk_sampler
from phew.walks.cpu_engine import CpuEngine
from phew.walks.forecast import Forecast
from phew.walks.options import Options

PATIENCE = datetime.timedelta(minutes=3)


def run(rank: int, names: list[str], num_ranks: int, folder: str) -> None:
    """Run checks as one of several processes, and save what went wrong: "" where nothing did."""
    torch.set_num_threads(1)
    warnings.simplefilter("error", UserWarning)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=num_ranks,
        timeout=PATIENCE,
    )
    outcomes = {}
    for name in names:
        outcomes[name] = ""
        try:
            CHECKS[name](Path(folder))
        except BaseException:
            outcomes[name] = traceback.format_exc()
        torch.save(outcomes, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


# Masks equal those of one process


def walk_whole_weights(case: str, folder: Path) -> None:
    make, options = CASES[case]
    model, inputs = make()
    expected: Any = phew.sample_masks(model, inputs, **options)
    for masks, plain in zip(sample(model, inputs, **options), expected, strict=True):
        assert_same_masks(masks, plain)
    graph = phew.capture(model, inputs, exclude=options.pop("exclude", ()))
    for masks, plain in zip(sample(graph, **options), expected, strict=True):
        assert_same_masks(masks, plain)


def walk_sharded_weights(case: str, folder: Path) -> None:
    make, options = CASES[case]
    expected: Any = phew.sample_masks(*make(), **options)
    model, inputs = make()
    before = dict(shard(model).named_parameters())
    hooks = [[*module._forward_pre_hooks] for module in model.modules()]
    for masks, plain in zip(sample(model, inputs, **options), expected, strict=True):
        assert_same_masks(masks, plain)
        for name, mask in masks.items():
            parameter: Any = model.get_parameter(name)
            assert isinstance(mask, DTensor)
            assert mask.placements == parameter.placements
            assert mask.to_local().shape == parameter.to_local().shape
            assert mask.to_local().untyped_storage().nbytes() == mask.to_local().numel()
    after = dict(model.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert [[*module._forward_pre_hooks] for module in model.modules()] == hooks


def check_batches(folder: Path) -> None:
    options: dict[str, Any] = {"densities": [0.1, 0.5], "num_threads": 1}
    expected: Any = phew.sample_masks(*resnet20(), **options)
    inputs = resnet20()[1]
    for model in (resnet20()[0], shard(resnet20()[0])):
        for num_visits in (0.0, 1e9):
            with (
                mock.patch.dict(walk_sampler.FEWEST_PER_BATCH, cpu=700),
                mock.patch.object(walk_sampler, "WEIGHTS_PER_WALK", 400),
                mock.patch.object(Forecast, "visits_per_walk", num_visits),
            ):
                for masks, plain in zip(sample(model, inputs, **options), expected, strict=True):
                    assert_same_masks(masks, plain)


def check_shares(folder: Path) -> None:
    """With whole weights each rank makes the flow and the walks of one direction."""
    for model, num_directions in ((lenet5()[0], 1), (shard(lenet5()[0]), 2)):
        with (
            mock.patch.object(CpuEngine, "flow", autospec=True, side_effect=CpuEngine.flow) as flow,
            mock.patch.object(CpuEngine, "walk", autospec=True, side_effect=CpuEngine.walk) as walk,
        ):
            sample(model, lenet5()[1], density=0.1)
        assert flow.call_count == num_directions
        parts = [call.args[1] for call in walk.call_args_list]
        assert len({number % 2 for part in parts for number in part}) == num_directions


def check_packed_marks(folder: Path) -> None:
    model, inputs = resnet20()
    graph = phew.capture(model, inputs)
    expected = phew.sample_masks(graph, density=0.3)
    ranks = Ranks(dist.group.WORLD)
    sampler = walk_sampler.Sampler(graph, Options(), num_threads=1, packed=True, ranks=ranks)
    (walked,) = sampler.run([sampler.target(0.3)])
    assert walked.num_walks == expected.num_walks
    assert Masks(walked.visited) == Masks(dict(expected))


# Sharded models


def train(model: nn.Module, inputs: Any) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn_like(inputs)).square().sum().backward()
        optimizer.step()


def assert_held(model: nn.Module, masks: Masks) -> None:
    for name, mask in masks.items():
        parameter: Any = model.get_parameter(name)
        # Where units are dead, kept weights have no gradient, but are not zero.
        assert parameter.full_tensor().ne(0).equal(mask), name
        assert not parameter.grad.full_tensor()[~mask].any(), name


def check_training(folder: Path) -> None:
    expected = phew.sample_masks(*lenet5(), density=0.1)
    model, inputs = lenet5()
    shard(model)
    # A forward pass leaves the weights of the root gathered.
    model(inputs)
    masks = phew.prune(model, inputs, density=0.1, group=dist.group.WORLD)
    assert_same_masks(masks, expected)
    train(model, inputs)
    assert_held(model, expected)
    phew.release(model)
    train(model, inputs)
    with pytest.raises(AssertionError):
        assert_held(model, expected)


def check_whole_masks_of_sharded_weights(folder: Path) -> None:
    masks = phew.sample_masks(*lenet5(), density=0.1)
    model, inputs = lenet5()
    shard(model)
    masks.apply(model, unit_masks=True)
    train(model, inputs)
    assert_held(model, masks)
    for name, mask in masks.unit_masks.items():
        assert not whole(model.get_parameter(name))[~mask].any(), name
    model.load_state_dict({name: torch.ones_like(p) for name, p in model.state_dict().items()})
    for name, mask in masks.items():
        assert whole(model.get_parameter(name)).equal(mask.float()), name


def check_sharded_masks_of_whole_weights(folder: Path) -> None:
    model, inputs = lenet5()
    masks = sample(shard(lenet5()[0]), inputs, density=0.1)
    masks.apply(model)
    for name, mask in masks.items():
        assert model.get_parameter(name).ne(0).equal(mask.full_tensor())


def check_saving(folder: Path) -> None:
    masks = sample(shard(lenet5()[0]), lenet5()[1], density=0.1)
    path = folder / f"{dist.get_rank()}.safetensors"
    masks.save(path)
    expected = phew.sample_masks(*lenet5(), density=0.1)
    assert_same_masks(Masks.load(path), expected, were_sharded=True)


def check_analysis(folder: Path) -> None:
    model, inputs = lenet5()
    masks = phew.sample_masks(model, inputs, density=0.1)
    expected = analyze(model, inputs, masks=masks)
    shard(model)
    found = analyze(model, inputs, masks=sample(model, inputs, density=0.1))
    assert found.as_dict() == expected.as_dict()


def check_counts_without_others(folder: Path) -> None:
    masks = sample(shard(lenet5()[0]), lenet5()[1], density=0.1)
    if dist.get_rank() == 0:
        assert f"{masks.num_kept:,} of" in repr(masks)
    counted = Masks(dict(masks))
    if dist.get_rank() == 0:
        assert "sharded, 61,470 weights" in repr(counted)
    assert counted.num_kept == masks.num_kept


def check_captures(folder: Path) -> None:
    model, inputs = resnet20()
    graph = phew.capture(model, inputs)
    expected = phew.sample_masks(graph, density=0.1)
    shard(model)
    assert digest_of_graph(phew.capture(model, inputs)) == digest_of_graph(graph)
    # The graph that was captured before takes the parts too.
    sharded = {name: p for name, p in model.named_parameters() if name in graph.parameters}
    assert_same_masks(sample(dataclasses.replace(graph, parameters=sharded), density=0.1), expected)


def check_tensor_parallelism(folder: Path) -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 7), nn.Linear(7, 5))

    inputs = torch.zeros(2, 9)
    expected = phew.sample_masks(network(), inputs, density=0.4)
    mesh = init_device_mesh(
        "cpu", (2, dist.get_world_size() // 2), mesh_dim_names=("data", "tensor")
    )
    plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
    model = parallelize_module(network(), mesh["tensor"], plan)
    fully_shard(model, mesh=mesh["data"])
    masks = phew.prune(model, inputs, density=0.4, group=dist.group.WORLD)
    assert_same_masks(masks, expected)
    train(model, inputs)
    assert_held(model, expected)


def check_sharded_buffers(folder: Path) -> None:
    """Their values say which units are joined."""

    def permuted() -> nn.Module:
        torch.manual_seed(0)
        return Permuted()

    inputs = torch.zeros(1, 8)
    expected = phew.sample_masks(permuted(), inputs, density=0.3)
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = distribute_module(permuted(), mesh)
    assert isinstance(model.order, DTensor)
    assert_same_masks(sample(model, inputs, density=0.3), expected)
    assert isinstance(model.order, DTensor)


# Communication


def check_bytes(folder: Path) -> None:
    """Ranks exchange one bit per weight, once, and the few visits that are listed."""
    model, inputs = resnet20()
    graph = phew.capture(model, inputs)
    sent = {"all_reduce": [0], "all_gather": [0]}

    def counted(name: str, position: int) -> Any:
        call = getattr(dist, name)

        def count(*args: Any) -> Any:
            sent[name].append(args[position].nbytes)
            return call(*args)

        return mock.patch.object(dist, name, count)

    with counted("all_reduce", 0), counted("all_gather", 1):
        masks = sample(graph, density=0.5)
    num_bytes = sum(-(-graph.parameters[name].numel() // 8) for name in graph.prunable)
    assert [size for size in sent["all_reduce"] if size > 1] == [num_bytes]
    assert sum(sent["all_gather"]) < 16 * 0.05 * masks.num_weights


CHECKS: dict[str, Callable[[Path], None]] = {
    **{f"whole {case}": partial(walk_whole_weights, case) for case in CASES},
    **{f"sharded {case}": partial(walk_sharded_weights, case) for case in CASES},
    **{
        name.removeprefix("check_").replace("_", " "): check
        for module in (globals(), vars(rank_errors), vars(rank_holds))
        for name, check in module.items()
        if name.startswith("check_")
    },
}
