"""Prune, train, stop and resume with the Trainer of transformers, which accelerate runs.

Needs: pip install scikit-learn transformers accelerate
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from recipes import BATCH_SIZE, MIDDLE, NUM_STEPS, load_digits, outcome
from torch import Tensor, nn
from training import DataSet
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import phew
from phew.integrations.transformers import PhewCallback


def build_network() -> Any:
    config = BertConfig(
        vocab_size=17,  # the brightness of a pixel
        max_position_embeddings=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    config.num_labels = 10
    return BertForSequenceClassification(config)


def samples_of(data: DataSet) -> list[dict[str, Tensor]]:
    tokens = (16 * data.train_inputs).long()
    return [
        {"input_ids": pixels, "labels": label}
        for pixels, label in zip(tokens, data.train_labels, strict=True)
    ]


def make_trainer(
    network: nn.Module, data: DataSet, folder: Path, callback: PhewCallback, **options: Any
) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=NUM_STEPS,
        save_steps=MIDDLE,
        per_device_train_batch_size=BATCH_SIZE,
        learning_rate=5e-3,
        weight_decay=0.01,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        **options,
    )
    return Trainer(network, arguments, train_dataset=samples_of(data), callbacks=[callback])


def main() -> None:
    data = load_digits()
    with TemporaryDirectory() as folder:
        torch.manual_seed(0)
        straight = build_network()
        make_trainer(straight, data, Path(folder), PhewCallback(density=0.1)).train()
        torch.manual_seed(1)  # a new process has other initial weights
        resumed = build_network()
        trainer = make_trainer(resumed, data, Path(folder), PhewCallback(density=0.1))
        trainer.train(resume_from_checkpoint=f"{folder}/checkpoint-{MIDDLE}")
        masks = phew.Masks.load(f"{folder}/masks.safetensors")
    print(outcome("transformers", masks, straight, resumed))


if __name__ == "__main__":
    main()
