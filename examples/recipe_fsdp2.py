"""Prune, shard by FSDP2, train, stop and resume, in two processes on the CPU.

Either order works: masks that are applied to whole weights hold when these are sharded, and masks
of whole weights are taken apart for sharded ones. Nothing but the optimizer must come last.

Needs: pip install scikit-learn
"""

from __future__ import annotations

# mypy: disable-error-code="attr-defined"
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from recipes import MIDDLE, batches, load_digits, outcome
from torch import distributed as dist
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint import state_dict as states
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn
from train_digits import build_network
from training import DataSet

import phew

NUM_RANKS = 2


def shard(model: nn.Module) -> nn.Module:
    for layer in model.children():
        fully_shard(layer)
    fully_shard(model)
    return model


def pruned_network(data: DataSet, masks_path: Path) -> nn.Module:
    """Prune whole weights, then shard them."""
    model = build_network()
    masks = phew.prune(model, data.train_inputs[:1], density=0.1, group=dist.group.WORLD)
    if dist.get_rank() == 0:
        masks.save(masks_path)
    dist.barrier()
    return shard(model)


def train(data: DataSet, folder: Path, *, resume: bool) -> nn.Module:
    torch.manual_seed(1 if resume else 0)  # a new process has other initial weights
    masks_path = folder / "masks.safetensors"
    model = shard(build_network()) if resume else pruned_network(data, masks_path)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    if resume:
        saved = state_of(model, optimizer)
        checkpoint.load(saved, checkpoint_id=folder)
        states.set_state_dict(
            model,
            optimizer,
            model_state_dict=saved["model"],
            optim_state_dict=saved["optimizer"],
        )
        phew.Masks.load(masks_path).apply(model)  # each rank holds its part
    for step, inputs, labels in batches(data, MIDDLE if resume else 0):
        if step == MIDDLE and not resume:
            checkpoint.save(state_of(model, optimizer), checkpoint_id=folder)
        mine = slice(dist.get_rank(), None, NUM_RANKS)
        loss = nn.functional.cross_entropy(model(inputs[mine]), labels[mine])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    model_state, optimizer_state = states.get_state_dict(model, optimizer)
    return {"model": model_state, "optimizer": optimizer_state}


def run(rank: int, folder: Path) -> None:
    meeting = f"file://{folder}/rendezvous"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=NUM_RANKS)
    data = load_digits()
    straight, resumed = (train(data, folder, resume=resume) for resume in (False, True))
    masks = phew.Masks.load(folder / "masks.safetensors")
    line = outcome("FSDP2", masks, straight, resumed)
    if rank == 0:
        print(line)
    dist.destroy_process_group()


def main() -> None:
    with TemporaryDirectory() as folder:
        spawn(run, (Path(folder),), nprocs=NUM_RANKS)


if __name__ == "__main__":
    main()
