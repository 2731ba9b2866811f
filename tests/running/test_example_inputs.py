"""Inputs are those that models have, or follow from configurations of other libraries' models.

The libraries are not needed: stand-ins carry the same attributes.
"""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import phew
from phew.running.example_inputs import described_inputs


def shapes(inputs: Any) -> Any:
    """Replace tensors by their shapes."""
    if isinstance(inputs, dict):
        return {name: shapes(value) for name, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return type(inputs)(map(shapes, inputs))
    return torch.Size(inputs.shape) if isinstance(inputs, Tensor) else inputs


class Vision(nn.Sequential):
    """A network for images of any size."""

    def __init__(self, channels: int = 3) -> None:
        pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        super().__init__(nn.Conv2d(channels, 8, 3), *pool, nn.Linear(8, 2))


def timm_model(channels: int = 3, first_conv: Any = "0", **attributes: Any) -> nn.Module:
    model = Vision(channels)
    model.__dict__["pretrained_cfg"] = {"input_size": (3, 32, 48), "first_conv": first_conv}
    model.__dict__.update(attributes)
    return model


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (timm_model(), (1, 3, 32, 48)),
        (timm_model(channels=1), (1, 1, 32, 48)),
        (timm_model(channels=1, first_conv=("0", "2")), (1, 1, 32, 48)),
        # This convolution does not read the image.
        (timm_model(channels=64, first_conv=None), (1, 3, 32, 48)),
        # This stem reads patches of 4 x 4 pixels as channels.
        (timm_model(channels=48), (1, 3, 32, 48)),
        (timm_model(patch_embed=SimpleNamespace(img_size=(64, 64))), (1, 3, 64, 64)),
        (timm_model(patch_embed=SimpleNamespace(img_size=None)), (1, 3, 32, 48)),
        (timm_model(pretrained_cfg={}), (1, 3, 224, 224)),
    ],
)
def test_timm(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert shapes(described_inputs(model)) == shape


def torchvision_model(module: str, channels: int = 3, **attributes: Any) -> nn.Module:
    kind = type("Model", (Vision,), {"__module__": f"torchvision.models.{module}"})
    model: nn.Module = kind(channels)
    model.__dict__.update(attributes)
    return model


TRANSFORM = SimpleNamespace(fixed_size=None, min_size=(640, 672), image_mean=[0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (torchvision_model("resnet"), (1, 3, 224, 224)),
        (torchvision_model("resnet", channels=2), (1, 2, 224, 224)),
        (torchvision_model("inception"), (1, 3, 299, 299)),
        (torchvision_model("vision_transformer", image_size=64), (1, 3, 64, 64)),
        (torchvision_model("segmentation.fcn"), (1, 3, 224, 224)),
        (torchvision_model("video.resnet"), (1, 3, 16, 224, 224)),
        (torchvision_model("optical_flow.raft"), ((1, 3, 128, 128), (1, 3, 128, 128))),
        (torchvision_model("detection.fcos", transform=TRANSFORM), ([(3, 640, 640)],)),
        (
            torchvision_model(
                "detection.ssd",
                transform=SimpleNamespace(fixed_size=(320, 300), image_mean=[0.5]),
            ),
            ([(1, 320, 300)],),
        ),
    ],
)
def test_torchvision(model: nn.Module, expected: Any) -> None:
    assert shapes(described_inputs(model)) == expected


def test_a_subclass_of_a_model_of_torchvision() -> None:
    class Mine(type(torchvision_model("resnet"))):  # type: ignore[misc]
        pass

    assert shapes(described_inputs(Mine())) == (1, 3, 224, 224)


class Config(SimpleNamespace):
    model_type = "stand-in"


class Transformer(nn.Module):
    """A stand-in for a model of transformers; subclasses differ in signature and configuration."""

    __module__ = "transformers.models.stand_in"
    main_input_name = "input_ids"

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = Config(**config)
        self.embedding = nn.Embedding(8, 4)
        self.head = nn.Linear(4, 2)


class Decoder(Transformer):
    def forward(self, input_ids: Tensor, use_cache: bool = True) -> Tensor:
        assert not use_cache
        return self.head(self.embedding(input_ids))


class EncoderDecoder(Transformer):
    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
        raise NotImplementedError


class SpeechToText(Transformer):
    main_input_name = "input_features"

    def forward(self, input_features: Tensor, decoder_input_ids: Tensor) -> Tensor:
        raise NotImplementedError


class VisionTransformer(Transformer):
    main_input_name = "pixel_values"

    def forward(self, pixel_values: Tensor) -> Tensor:
        raise NotImplementedError


class VideoTransformer(Transformer):
    main_input_name = "pixel_values_videos"

    def forward(self, pixel_values_videos: Tensor) -> Tensor:
        raise NotImplementedError


class SoundTransformer(Transformer):
    main_input_name = "input_values"

    def forward(self, input_values: Tensor) -> Tensor:
        raise NotImplementedError


class FeatureTransformer(Transformer):
    main_input_name = "input_features"

    def forward(self, input_features: Tensor) -> Tensor:
        raise NotImplementedError


class SeriesTransformer(Transformer):
    main_input_name = "past_values"

    def forward(self, past_values: Tensor) -> Tensor:
        raise NotImplementedError


class Captioner(Transformer):
    def forward(self, pixel_values: Tensor, input_ids: Tensor | None = None) -> Tensor:
        raise NotImplementedError


class Multimodal(Transformer):
    def forward(self, input_ids: Tensor, pixel_values: Tensor | None = None) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Decoder(vocab_size=100), {"input_ids": (1, 16), "use_cache": False}),
        (
            Decoder(vocab_size=100, max_position_embeddings=10),
            {"input_ids": (1, 10), "use_cache": False},
        ),
        (
            EncoderDecoder(vocab_size=100),
            {"input_ids": (1, 16), "decoder_input_ids": (1, 16)},
        ),
        (
            SpeechToText(vocab_size=100, max_source_positions=64, num_mel_bins=20),
            {"input_features": (1, 20, 128), "decoder_input_ids": (1, 16)},
        ),
        (
            SpeechToText(max_source_positions=64, input_feat_per_channel=80, input_channels=2),
            {"input_features": (1, 128, 160), "decoder_input_ids": (1, 16)},
        ),
        (FeatureTransformer(feature_projection_input_dim=160), {"input_features": (1, 128, 160)}),
        (VisionTransformer(), {"pixel_values": (1, 3, 224, 224)}),
        (
            VisionTransformer(image_size=[64, 32], num_channels=1),
            {"pixel_values": (1, 1, 64, 32)},
        ),
        (
            VisionTransformer(image_size=32, num_frames=8),
            {"pixel_values": (1, 8, 3, 32, 32)},
        ),
        (SeriesTransformer(context_length=32, num_input_channels=7), {"past_values": (1, 32, 7)}),
        # An image is asked for, however many special tokens there are.
        (
            Captioner(vocab_size=50, image_token_id=4),
            {"input_ids": (1, 16), "pixel_values": (1, 3, 224, 224)},
        ),
        (
            VisionTransformer(decoder=Config(), encoder=Config(image_size=48)),
            {"pixel_values": (1, 3, 48, 48)},
        ),
        (
            VideoTransformer(crop_size=32, frames_per_clip=4),
            {"pixel_values_videos": (1, 4, 3, 32, 32)},
        ),
        (SoundTransformer(), {"input_values": (1, 16_000)}),
        (SoundTransformer(audio_channels=2), {"input_values": (1, 2, 16_000)}),
        (SoundTransformer(max_length=100, num_mel_bins=20), {"input_values": (1, 100, 20)}),
        (
            Multimodal(
                text_config=Config(vocab_size=50, max_position_embeddings=7),
                vision_config=Config(image_size=32),
            ),
            {"input_ids": (1, 7), "pixel_values": (1, 3, 32, 32)},
        ),
        # Images go where a special token is.
        (Multimodal(text_config=Config(vocab_size=50), image_token_id=4), {"input_ids": (1, 16)}),
    ],
)
def test_transformers(model: nn.Module, expected: Any) -> None:
    assert shapes(described_inputs(model)) == expected


class Segmenter(Transformer):
    main_input_name = ("pixel_values", "task_inputs")  # type: ignore[assignment]

    def forward(self, pixel_values: Tensor, task_inputs: Tensor) -> Tensor:
        raise NotImplementedError


class Boxes(Transformer):
    def forward(self, input_ids: Tensor, boxes: Tensor) -> Tensor:
        raise NotImplementedError


class State(Transformer):
    main_input_name = "state"

    def forward(self, state: Tensor | None = None) -> Tensor:
        raise NotImplementedError


def test_tokens_are_ordinary_but_the_last() -> None:
    model = Decoder(vocab_size=9, pad_token_id=0, bos_token_id=1, eos_token_id=2, unk_token_id=None)
    inputs: Any = described_inputs(model)
    assert inputs["input_ids"].tolist() == [[3, 4, 5, 6, 7, 2]]
    unbounded: Any = described_inputs(Decoder(vocab_size=100, max_position_embeddings=-1))
    assert unbounded["input_ids"].tolist() == [list(range(16))]
    tiny: Any = described_inputs(Decoder(vocab_size=1, pad_token_id=0, eos_token_id=5))
    assert tiny["input_ids"].tolist() == [[0]]


@pytest.mark.parametrize("model", [Vision(), Segmenter(), Boxes(), State()])
def test_other_models_need_example_inputs(model: nn.Module) -> None:
    message = (
        "example_inputs must be given for a model that does not describe its input, as those of "
        "timm, torchvision and transformers do, and those with an example_input_array, got None "
        f"for {type(model).__name__}. Pass a tensor, a tuple or a dict that the model accepts."
    )
    for call in (phew.capture, lambda model: phew.sample_masks(model, density=0.5)):
        with pytest.raises(ValueError, match=re.escape(message)):
            call(model)


def test_a_wrong_description_asks_for_example_inputs() -> None:
    model = timm_model(pretrained_cfg={"input_size": (3, 2, 2)})
    message = (
        r"^example_inputs must be given for Vision, which does not accept what it describes, "
        "got RuntimeError: "
    )
    with pytest.raises(ValueError, match=message):
        phew.capture(model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_inputs_are_where_and_of_what_the_parameters_are(dtype: torch.dtype, device: str) -> None:
    inputs: Any = described_inputs(timm_model().to(device, dtype))
    assert inputs.dtype == dtype
    assert inputs.device.type == device
    described: Any = described_inputs(Decoder(vocab_size=10).to(device, dtype))
    tokens = described["input_ids"]
    assert tokens.dtype == torch.int64
    assert tokens.device.type == device


def test_capture_and_prune_without_example_inputs() -> None:
    model = Decoder(vocab_size=8)
    config = dict(vars(model.config))
    random_state = torch.get_rng_state()
    assert phew.capture(model).prunable == ("head.weight",)
    assert torch.get_rng_state().equal(random_state)
    assert vars(model.config) == config
    masks = phew.prune(timm_model(), density=0.5)
    assert list(masks) == ["0.weight", "3.weight"]
    assert phew.sample_masks(timm_model(), density=0.5).num_weights == masks.num_weights
    assert phew.capture(timm_model().to("meta")).num_prunable_weights == masks.num_weights


class WithExample(nn.Module):
    def __init__(self, example: Any) -> None:
        super().__init__()
        self.example_input_array = example
        self.layer = nn.Linear(4, 2)

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        return self.layer(rows) + numbers


@pytest.mark.parametrize("names", [(), ("rows", "numbers")])
def test_an_example_input_array_is_moved_to_the_parameters(names: tuple[str, ...]) -> None:
    rows, numbers = torch.zeros(3, 4), torch.zeros(3, 2, dtype=torch.long)
    example = dict(zip(names, (rows, numbers), strict=True)) if names else (rows, numbers)
    model = WithExample(example)
    assert phew.capture(model).prunable == ("layer.weight",)
    assert shapes(described_inputs(model)) == shapes(example)
    moved: Any = described_inputs(model.to("meta", torch.bfloat16))
    moved_rows, moved_numbers = moved.values() if names else moved
    assert (moved_rows.dtype, moved_rows.device.type) == (torch.bfloat16, "meta")
    assert (moved_numbers.dtype, moved_numbers.device.type) == (torch.long, "meta")
    assert (rows.dtype, rows.device.type) == (torch.float32, "cpu")


def test_dummy_inputs_of_a_class_outside_of_transformers_are_the_input() -> None:
    class OfLibrary(WithExample):
        __module__ = "transformers.modeling_utils"

        @property
        def dummy_inputs(self) -> dict[str, Tensor]:
            raise NotImplementedError

    class Own(OfLibrary):
        @property
        def dummy_inputs(self) -> dict[str, Tensor]:
            return {"rows": torch.zeros(2, 4), "numbers": torch.zeros(2, 2)}

    assert shapes(described_inputs(Own(None))) == {"rows": (2, 4), "numbers": (2, 2)}
    assert phew.capture(Own(None)).prunable == ("layer.weight",)
