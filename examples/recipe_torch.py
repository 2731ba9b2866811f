"""Prune, train, stop and resume in a plain loop of PyTorch.

Needs: pip install scikit-learn
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from recipes import MIDDLE, batches, load_digits, outcome
from torch import nn
from train_digits import build_network
from training import DataSet

import phew


def train(data: DataSet, folder: Path, *, resume: bool) -> tuple[nn.Module, phew.Masks]:
    torch.manual_seed(1 if resume else 0)  # a new process has other initial weights
    model = build_network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    if resume:
        saved = torch.load(folder / "checkpoint.pt")
        model.load_state_dict(saved["model"])
        masks, first = phew.Masks.load(folder / "masks.safetensors"), saved["step"]
        masks.apply(model)
        optimizer.load_state_dict(saved["optimizer"])
    else:
        masks, first = phew.prune(model, data.train_inputs[:1], density=0.1), 0
    for step, inputs, labels in batches(data, first):
        if step == MIDDLE and not resume:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "step": step}, folder / "checkpoint.pt")
            masks.save(folder / "masks.safetensors")
        loss = nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model, masks


def main() -> None:
    data = load_digits()
    with TemporaryDirectory() as name:
        straight, _ = train(data, Path(name), resume=False)
        resumed, masks = train(data, Path(name), resume=True)
    print(outcome("PyTorch", masks, straight, resumed))


if __name__ == "__main__":
    main()
