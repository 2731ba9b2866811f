"""Prune, train, stop and resume as timm's training script does.

timm's train.py is not in its wheel; docs/recipes.md says which lines to add to it.

Needs: pip install scikit-learn timm
"""

from __future__ import annotations

# mypy: disable-error-code="attr-defined,no-untyped-call"
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from recipes import BATCH_SIZE, NUM_STEPS, batches, load_digits, outcome
from timm.models import resume_checkpoint
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import CheckpointSaver, ModelEmaV3
from torch import nn
from training import DataSet

import phew

NUM_EPOCHS = 2
STEPS_PER_EPOCH = NUM_STEPS // NUM_EPOCHS


def train(data: DataSet, folder: Path, resume: Path | None = None) -> tuple[Any, phew.Masks]:
    torch.manual_seed(0 if resume is None else 1)  # a new process has other initial weights
    model = timm.create_model("test_resnet", in_chans=1, num_classes=10)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=5e-3, weight_decay=0.01)
    scheduler, _ = create_scheduler_v2(optimizer, num_epochs=NUM_EPOCHS)
    first = 0
    if resume is None:
        masks = phew.prune(model, torch.zeros(1, 1, 8, 8), density=0.1)
        masks.save(folder / "masks.safetensors")
    else:
        first = resume_checkpoint(model, str(resume), optimizer) or 0
        masks = phew.Masks.load(resume.parent / "masks.safetensors")
        masks.apply(model)
        scheduler.step(first)
    average = ModelEmaV3(model)  # a copy, which is under the same masks
    saver = CheckpointSaver(model, optimizer, model_ema=average, checkpoint_dir=str(folder))
    for step, inputs, labels in batches(data, first * STEPS_PER_EPOCH):
        model.train()
        loss = nn.functional.cross_entropy(model(inputs.view(BATCH_SIZE, 1, 8, 8)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(model)
        epoch, rest = divmod(step + 1, STEPS_PER_EPOCH)
        if rest == 0:
            scheduler.step(epoch)
            saver.save_checkpoint(epoch - 1)
    assert masks.check(average.module) == {}
    return model, masks


def main() -> None:
    data = load_digits()
    with TemporaryDirectory() as folder:
        straight, _ = train(data, Path(folder))
        resumed, masks = train(data, Path(folder), Path(folder, "checkpoint-0.pth.tar"))
    print(outcome("timm", masks, straight, resumed))


if __name__ == "__main__":
    main()
