"""Prune, train, stop and resume with Lightning's Trainer.

Needs: pip install scikit-learn lightning
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from recipes import BATCH_SIZE, MIDDLE, load_digits, outcome
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from train_digits import build_network
from training import DataSet

from phew.integrations.lightning import PhewCallback


class Digits(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = build_network()
        self.example_input_array = torch.zeros(1, 64)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.network(inputs)
        return outputs

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        inputs, labels = batch
        return nn.functional.cross_entropy(self(inputs), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=5e-3)


def train(
    data: DataSet, folder: Path, resume_from: Path | None = None
) -> tuple[Digits, PhewCallback]:
    torch.manual_seed(0 if resume_from is None else 1)  # a new process has other initial weights
    model = Digits()
    pruning = PhewCallback(density=0.1)
    saving = ModelCheckpoint(folder, "{epoch}", save_top_k=-1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=MIDDLE,
        callbacks=[pruning, saving],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(data.train_inputs, data.train_labels), BATCH_SIZE)
    trainer.fit(model, loader, ckpt_path=resume_from)
    return model, pruning


def main() -> None:
    data = load_digits()
    with TemporaryDirectory() as folder:
        straight, _ = train(data, Path(folder))
        resumed, pruning = train(data, Path(folder), Path(folder, "epoch=0.ckpt"))
    assert pruning.masks is not None
    print(outcome("Lightning", pruning.masks, straight, resumed))


if __name__ == "__main__":
    main()
