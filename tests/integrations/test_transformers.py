"""The callback for the Trainer of transformers prunes once, and saves masks beside checkpoints."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo import torchvision_operators  # noqa: F401  transformers imports torchvision

import phew

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Trainings:
    """Trains small networks with the Trainer, which takes seconds to import."""

    def __init__(self, folder: Path) -> None:
        self.library: Any = importlib.import_module("transformers")
        self.module: Any = importlib.import_module("phew.integrations.transformers")
        self.folder = folder

    def network(self, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        config = self.library.BertConfig(
            vocab_size=11,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
        )
        return self.library.BertForSequenceClassification(config)

    def train(self, network: Any, callback: Any, resume: Path | None = None, **options: Any) -> Any:
        """Train a network for four steps, with a checkpoint after two."""
        arguments = self.library.TrainingArguments(
            **{"output_dir": str(self.folder), **options},
            max_steps=4,
            save_steps=2,
            learning_rate=0.01,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
        )
        tokens = torch.randint(11, (64, 8), generator=torch.Generator().manual_seed(0))
        samples = [{"input_ids": row, "labels": row[0] % 2} for row in tokens]
        trainer = self.library.Trainer(
            network, arguments, train_dataset=samples, callbacks=[callback]
        )
        trainer.train(resume_from_checkpoint=resume and str(resume))
        return trainer


@pytest.fixture
def trainings(tmp_path: Path) -> Trainings:
    return Trainings(tmp_path)


def test_a_training_prunes_as_prune_does_and_saves_the_masks(trainings: Trainings) -> None:
    network = trainings.network()
    expected = phew.sample_masks(network, density=0.25, seed=3, exclude="classifier")
    callback = trainings.module.PhewCallback(density=0.25, seed=3, exclude="classifier")
    trainer = trainings.train(network, callback)
    assert callback.masks == expected
    assert expected.check(network) == {}
    for folder in ("checkpoint-2", "checkpoint-4", "."):
        assert phew.Masks.load(trainings.folder / folder / "masks.safetensors") == expected
    trained = network.classifier.weight.detach().clone()
    weight = network.bert.encoder.layer[0].intermediate.dense.weight.detach().clone()
    callback.begin(network)
    assert network.bert.encoder.layer[0].intermediate.dense.weight.equal(weight)
    trainer.train()
    assert callback.masks == expected
    assert not network.classifier.weight.equal(trained)


def test_masks_are_found_where_training_resumes(trainings: Trainings) -> None:
    callback_of = trainings.module.PhewCallback
    network = trainings.network()
    trainings.train(network, callback_of(density=0.25))
    checkpoint = trainings.folder / "checkpoint-2"
    masks = phew.Masks.load(checkpoint / "masks.safetensors")

    elsewhere = trainings.folder / "elsewhere"
    options = {"output_dir": str(elsewhere)}
    with pytest.raises(
        ValueError, match=r"^masks\.safetensors must be in the folder of .* got none"
    ):
        trainings.train(trainings.network(1), callback_of(density=0.25), checkpoint, **options)
    for callback, more in (
        (callback_of(density=0.25), {"resume_from_checkpoint": str(checkpoint)}),
        (callback_of(masks=masks), {}),
    ):
        resumed = trainings.network(1)
        trainings.train(resumed, callback, checkpoint, **options, **more)
        assert callback.masks == masks
        assert phew.Masks.load(elsewhere / "checkpoint-4" / "masks.safetensors") == masks
        assert phew.Masks.of(resumed) == phew.Masks(masks)
        for name, value in network.state_dict().items():
            assert value.equal(resumed.state_dict()[name]), name


def test_adapters_are_not_resumed_on_a_base_that_was_not_pruned(trainings: Trainings) -> None:
    peft: Any = importlib.import_module("peft")
    config = peft.LoraConfig(target_modules=["query"])
    callback_of = trainings.module.PhewCallback
    trainings.train(peft.get_peft_model(trainings.network(), config), callback_of(density=0.25))
    resumed = peft.get_peft_model(trainings.network(), config)
    with pytest.raises(ValueError, match=r"that are not zero, .* lacks? .*base|has not those of"):
        trainings.train(resumed, callback_of(density=0.25), trainings.folder / "checkpoint-2")
    assert not phew.is_pruned(resumed)
