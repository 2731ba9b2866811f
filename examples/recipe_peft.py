"""Train adapters of PEFT on a pruned base, stop, resume, and merge them.

A checkpoint holds the adapters alone. So the base is saved once, when it is pruned, and loaded
before a run resumes.

Needs: pip install scikit-learn transformers accelerate peft
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from recipe_transformers import build_network, make_trainer
from recipes import MIDDLE, load_digits, outcome
from transformers import BertForSequenceClassification

import phew
from phew.integrations.transformers import PhewCallback


def save_pruned_base(folder: Path) -> None:
    torch.manual_seed(0)
    base = build_network()
    masks = phew.prune(base, density=0.3)
    base.save_pretrained(folder)
    masks.save(folder / "masks.safetensors")


def load_with_adapters(folder: Path) -> Any:
    base = BertForSequenceClassification.from_pretrained(folder)
    phew.Masks.load(folder / "masks.safetensors").apply(base)
    return get_peft_model(base, LoraConfig(r=4, target_modules="all-linear"))


def main() -> None:
    data = load_digits()
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_pruned_base(folder / "base")
        models = []
        for checkpoint in (None, f"{folder}/run/checkpoint-{MIDDLE}"):
            model = load_with_adapters(folder / "base")
            callback = PhewCallback(masks=phew.Masks.of(model))
            trainer = make_trainer(model, data, folder / "run", callback)
            trainer.train(resume_from_checkpoint=checkpoint)
            models.append(model)
        masks = phew.Masks.load(folder / "run/masks.safetensors")
        base_masks = phew.Masks.load(folder / "base/masks.safetensors")
    print(outcome("PEFT", masks, *models))

    # Merging adds the adapters to pruned weights too, so the merged network is dense until its
    # masks are applied again.
    merged = models[1].merge_and_unload()
    num_added = sum(base_masks.check(merged).values())
    phew.Masks.of(merged).apply(merged)
    num_left = sum(base_masks.check(merged).values())
    print(f"merged: {num_added:,} pruned weights are not zero, masks applied again: {num_left}")


if __name__ == "__main__":
    main()
