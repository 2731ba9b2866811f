"""Checks that all ranks end with an error if one has one, in a module that ranks can import."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from rank_networks import lenet5, sample, shard
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

import phew
from phew.capture import graph_of
from phew.graph import weights as graph_weights
from phew.walks import link_loader, masks_of_walks
from phew.walks import sampler as walk_sampler
from phew.walks.cpu_engine import CpuEngine


def mine(*values: Any) -> Any:
    return values[dist.get_rank() % len(values)]


@contextmanager
def refused(error: type[Exception], message: str) -> Iterator[None]:
    with pytest.raises(error) as raised:
        yield
    assert re.fullmatch(message, str(raised.value), re.DOTALL), str(raised.value)


def check_arguments(folder: Path) -> None:
    model, inputs = lenet5()
    for argument, values in {
        "seed": (0, 7),
        "density": (0.1, 0.2),
        "fork": ("uniform", "mass"),
        "power": (1, 2),
    }.items():
        options = {"density": 0.1, argument: mine(*values)}
        with refused(
            ValueError,
            rf"{argument} must be the same on all ranks, got .?{values[0]}.? on rank 0 and "
            rf".?{values[1]}.? on rank 1\. Give all ranks the same .*",
        ):
            sample(model, inputs, **options)
    with refused(ValueError, "the graph of model must be the same on all ranks, got that .*"):
        sample(model, inputs, density=0.1, exclude=mine((), ("*1.weight",)))
    with refused(ValueError, "density must be the same .* got 0.1 on rank 0 and None on .*"):
        sample(model, inputs, **mine({"density": 0.1}, {"densities": [0.1]}))


def check_sharding(folder: Path) -> None:
    model, inputs = lenet5()
    names = list(phew.sample_masks(model, inputs, density=0.1))
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    fully_shard(model, mesh=mesh, ignored_params=mine(set(), {model.get_parameter(names[0])}))
    with refused(ValueError, "the sharding of model must be the same on all ranks, got .*"):
        sample(model, inputs, density=0.1)


def check_wrapped(folder: Path) -> None:
    model, inputs = lenet5()
    wrapped = FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    with refused(ValueError, r"model must not be wrapped in FullyShardedDataParallel, .*"):
        phew.capture(wrapped, inputs)


def check_weights(folder: Path) -> None:
    model, inputs = lenet5()
    names = list(phew.sample_masks(model, inputs, density=0.1))
    with torch.no_grad():
        model.get_parameter(names[1])[0, 0] += mine(0.0, 0.01)
    message = rf"the weights of '{names[1]}' must be the same on all ranks, got those of digest .*"
    with refused(ValueError, message):
        sample(model, inputs, density=0.1)


def check_one_fails(folder: Path) -> None:
    """An error of one rank is an error of all, wherever it happens."""
    model, inputs = lenet5()
    sharded = shard(lenet5()[0])

    for owner, name, network, kind in [
        (walk_sampler.Sampler, "target", model, MemoryError),
        (CpuEngine, "flow", model, MemoryError),
        (CpuEngine, "walk", model, MemoryError),
        (CpuEngine, "walk", sharded, MemoryError),
        (link_loader, "data_of", model, MemoryError),
        (link_loader, "data_of", sharded, RuntimeError),
        (graph_weights, "whole", model, MemoryError),
        (link_loader, "_check_room_for", sharded, MemoryError),
        (link_loader, "LinkBuffers", sharded, MemoryError),
        (graph_of, "capture", model, MemoryError),
        (masks_of_walks, "assemble_masks", model, MemoryError),
    ]:
        if dist.get_rank() == 1:
            fail = mock.Mock(side_effect=kind("no more"))
            with mock.patch.object(owner, name, fail), refused(kind, "no more"):
                sample(network, inputs, density=0.1)
        else:
            with refused(RuntimeError, rf"rank 1 of the group failed.*: {kind.__name__}: no more"):
                sample(network, inputs, density=0.1)
    with refused(*mine((RuntimeError, "rank 1 .*: TypeError: .*"), (TypeError, "density must .*"))):
        sample(model, inputs, density=mine(0.1, "0.1"))
    with refused(ValueError, r"density must keep at least one of 61,470 weights, got 1e-09\."):
        sample(model, inputs, density=1e-9)
    assert sample(*lenet5(), density=0.1) == phew.sample_masks(*lenet5(), density=0.1)


def check_groups(folder: Path) -> None:
    model, inputs = lenet5()
    not_a_group: Any = "world"
    with refused(TypeError, r"group must be a torch.distributed.ProcessGroup, .*, got str\."):
        phew.sample_masks(model, inputs, density=0.1, group=not_a_group)
    shard(model)
    with refused(ValueError, r"group must have all ranks that hold a part of .*, got None\..*"):
        phew.sample_masks(model, inputs, density=0.1)
    with refused(ValueError, r"group must have all ranks that hold a part of .*, got None\..*"):
        phew.baselines.ablation(model, inputs, density=0.1, variant="uniform")
    alone = mine(*[dist.new_group([rank]) for rank in range(dist.get_world_size())])
    of_first = dist.new_group([0])
    if dist.get_rank() > 0:
        with refused(ValueError, "group must have this process among its ranks, got another."):
            phew.sample_masks(model, inputs, density=0.1, group=of_first)
    with refused(ValueError, r"group must have all ranks that hold .*, \[0, 1\], got \[\d\]\..*"):
        phew.sample_masks(model, inputs, density=0.1, group=alone)
    model, _ = lenet5()
    masks = phew.sample_masks(model, inputs, density=0.1, group=alone)
    assert masks == phew.sample_masks(model, inputs, density=0.1)


def check_a_rank_stops(folder: Path) -> None:
    """The other ranks report one that stops. No check of the group can follow."""
    if dist.get_rank() == 1:
        with mock.patch.object(CpuEngine, "walk", side_effect=lambda *_, **__: os._exit(0)):
            sample(*lenet5(), density=0.1)
    with refused(RuntimeError, "group must have all its ranks until the call ends, got no .*"):
        sample(*lenet5(), density=0.1)
