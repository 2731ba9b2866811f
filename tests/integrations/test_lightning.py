"""Lightning's callback prunes once, and its masks are in every checkpoint."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import torchvision_operators  # noqa: F401  Lightning imports torchvision

import phew

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Fits:
    """Fits small networks with Lightning, which takes seconds to import."""

    def __init__(self, folder: Path, library: str = "lightning.pytorch") -> None:
        self.library: Any = importlib.import_module(library)
        self.module: Any = importlib.import_module("phew.integrations.lightning")
        self.network: Any = self.network_class()
        self.folder = folder

    def network_class(self) -> type[nn.Module]:
        class Network(self.library.LightningModule):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
                self.example_input_array = torch.zeros(1, 8)

            def forward(self, x: Tensor) -> Any:
                return self.layers(x)

            def training_step(self, batch: Tensor, index: int) -> Any:
                return self(batch).square().mean()

            def configure_optimizers(self) -> Any:
                return torch.optim.AdamW(self.parameters(), lr=0.01)

        return Network

    def fit(self, model: Any, callbacks: list[Any], **options: Any) -> Any:
        """Fit a model for one epoch, or for a second one where it resumes from a checkpoint."""
        trainer = self.library.Trainer(
            accelerator="cpu",
            max_epochs=2 if "ckpt_path" in options else 1,
            callbacks=callbacks,
            default_root_dir=self.folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        data: Any = torch.randn(64, 8)
        trainer.fit(model, torch.utils.data.DataLoader(data, batch_size=16), **options)
        return trainer


@pytest.fixture
def fits(tmp_path: Path) -> Fits:
    return Fits(tmp_path)


def test_a_fit_prunes_as_prune_does_and_saves_the_masks(fits: Fits) -> None:
    torch.manual_seed(0)
    model = fits.network()
    expected = phew.sample_masks(model, density=0.25, seed=3, exclude="layers.2")
    callback = fits.module.PhewCallback(density=0.25, seed=3, exclude="layers.2")
    path = fits.folder / "last.ckpt"
    fits.fit(model, [callback]).save_checkpoint(path)
    assert callback.masks == expected
    assert phew.Masks.of(model) == phew.Masks(expected)
    assert model.layers[0].weight.ne(0).equal(expected["layers.0.weight"])
    saved = fits.module.masks_in(torch.load(path))
    assert saved == expected
    assert saved.info == expected.info


def test_a_second_fit_keeps_the_masks_and_what_was_trained(fits: Fits) -> None:
    model = fits.network()
    callback = fits.module.PhewCallback(density=0.25)
    fits.fit(model, [callback])
    first, trained = callback.masks, model.layers[0].weight.detach().clone()
    callback.begin(model)
    assert model.layers[0].weight.equal(trained)
    fits.fit(model, [callback])
    assert callback.masks == first
    assert first.check(model) == {}


def test_a_callback_prunes_each_new_model(fits: Fits) -> None:
    callback = fits.module.PhewCallback(density=0.25)
    for seed in range(2):
        torch.manual_seed(seed)
        model = fits.network()
        expected = phew.sample_masks(model, density=0.25)
        fits.fit(model, [callback])
        assert callback.masks == expected


@pytest.mark.parametrize("library", ["lightning.pytorch", "pytorch_lightning"])
def test_masks_that_exist_are_applied_and_rescaled_once(tmp_path: Path, library: str) -> None:
    fits = Fits(tmp_path, library)
    model, pruned = fits.network(), fits.network()
    masks = phew.sample_masks(model, density=0.5)
    pruned.load_state_dict(model.state_dict())
    masks.apply(pruned, rescale="variance")
    callback = fits.module.PhewCallback(masks=masks, rescale="variance")
    for _ in range(2):
        callback.begin(model)
        assert model.layers[0].weight.equal(pruned.layers[0].weight)
    fits.fit(model, [callback])
    assert callback.masks == masks
    assert masks.check(model) == {}
    assert not model.layers[0].weight.equal(pruned.layers[0].weight)


def test_data_of_the_trainer_is_not_looked_through(fits: Fits) -> None:
    model = fits.network()
    seen = []

    class Spy(fits.module.PhewCallback):  # type: ignore[misc, name-defined]
        def begin(self, model: Any) -> None:
            seen.append(model._trainer)
            super().begin(model)

    fits.fit(model, [Spy(density=0.5)])
    assert seen == [None]
    assert model.trainer is not None


def test_what_cannot_be_resumed_is_refused(fits: Fits) -> None:
    callback_of, masks_in = fits.module.PhewCallback, fits.module.masks_in
    path = fits.folder / "last.ckpt"
    fits.fit(fits.network(), [callback_of(density=0.5)]).save_checkpoint(path)
    saved = torch.load(path)

    other = phew.sample_masks(fits.network(), density=0.25)
    with pytest.raises(ValueError, match=r"^masks must be those of the run that is resumed, got "):
        fits.fit(fits.network(), [callback_of(masks=other)], ckpt_path=path)

    saved["state_dict"]["layers.0.weight"].fill_(1)
    torch.save(saved, path)
    num_pruned = 128 - int(masks_in(saved)["layers.0.weight"].sum())
    message = f"got {num_pruned} weights that its masks prune and that are not zero"
    with pytest.raises(ValueError, match=re.escape(message)):
        fits.fit(fits.network(), [callback_of(density=0.5)], ckpt_path=path)

    del saved["callbacks"]["PhewCallback"]
    torch.save(saved, path)
    with pytest.raises(ValueError, match="must be one that PhewCallback put masks into, got one w"):
        fits.fit(fits.network(), [callback_of(density=0.5)], ckpt_path=path)


def test_a_model_that_was_pruned_before_needs_its_masks(fits: Fits) -> None:
    model = fits.network()
    phew.prune(model, density=0.5)
    with pytest.raises(ValueError, match=r"Use PhewCallback\(masks=phew\.Masks\.of\(model\)\)\.$"):
        fits.fit(model, [fits.module.PhewCallback(density=0.5)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            "must be given the arguments of phew.prune, .* missing a required argument: 'density'",
        ),
        ({"densty": 0.5}, "got an unexpected keyword argument 'densty'|missing a required"),
        ({"masks": phew.Masks({}), "density": 0.5}, "got an unexpected keyword argument 'density'"),
        ({"masks": phew.Masks({}), "example_inputs": 1}, "example_inputs must be left out where"),
    ],
)
def test_arguments_are_those_of_one_call(
    fits: Fits, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        fits.module.PhewCallback(**arguments)
