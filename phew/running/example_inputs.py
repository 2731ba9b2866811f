"""Make example inputs from a model's own description, without importing the library it is from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import nn

from phew.running.adapters import without_wrapper
from phew.running.tensors import with_tensors_replaced

_IMAGE_SIZE = 224
_NUM_TOKENS = 16
_NUM_FRAMES = 16
_NUM_STEPS = 128
_NUM_SAMPLES = 16_000


def described_inputs(model: nn.Module) -> Any:
    """Make inputs of the shapes that a model describes.

    That are the `example_input_array` of Lightning's modules, the `dummy_inputs` of classes that
    are derived from those of transformers, and what follows from the configurations of models of
    timm, torchvision and transformers.

    Args:
        model: The model, which PEFT may have wrapped; it is not run.

    Returns:
        A tensor, positional or keyword arguments, on the device of the model's first parameter and
        in the dtype of its first floating-point one. Images and sounds that are made are zeros.

    Raises:
        ValueError: If the model does not describe its input.
    """
    model = without_wrapper(model)
    inputs = _InputMaker(model)
    if (example := getattr(model, "example_input_array", None)) is not None:
        return inputs.moved(example)
    if _describes_itself(model):
        return inputs.moved(model.dummy_inputs)
    if isinstance(getattr(model, "pretrained_cfg", None), Mapping):
        return _of_timm(model, inputs)
    if family := _package(model, "torchvision.models."):
        return _of_torchvision(model, inputs, family)
    if _package(model, "transformers.") and (arguments := _of_transformers(model, inputs)):
        return arguments
    raise ValueError(
        "example_inputs must be given for a model that does not describe its input, as those of "
        "timm, torchvision and transformers do, and those with an example_input_array, got None "
        f"for {type(model).__name__}. Pass a tensor, a tuple or a dict that the model accepts."
    )


class _InputMaker:
    """Makes tensors where a model's parameters are, without reading any random state."""

    def __init__(self, model: nn.Module) -> None:
        parameters = list(model.parameters())
        floating = (p.dtype for p in parameters if p.is_floating_point())
        self._dtype = next(floating, torch.get_default_dtype())
        self._device = parameters[0].device if parameters else torch.device("cpu")

    def zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def tokens(self, ids: list[int]) -> torch.Tensor:
        return torch.tensor([ids], device=self._device)

    def moved(self, example: Any) -> Any:
        def move(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.to(self._device, self._dtype if tensor.is_floating_point() else None)

        return with_tensors_replaced(move, example)


def _package(model: nn.Module, prefix: str) -> str:
    """Return the package below `prefix` of the first of a model's classes that is in it, or ""."""
    modules = (kind.__module__ for kind in type(model).__mro__)
    return next((name.removeprefix(prefix) for name in modules if name.startswith(prefix)), "")


def _describes_itself(model: nn.Module) -> bool:
    """Return whether a class has `dummy_inputs` of its own, not those that transformers gives."""
    owners = [kind for kind in type(model).__mro__ if "dummy_inputs" in vars(kind)]
    return bool(owners) and not owners[0].__module__.startswith("transformers.")


def _of_timm(model: nn.Module, inputs: _InputMaker) -> torch.Tensor:
    config: Mapping[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    channels, *size = config.get("input_size") or (3, _IMAGE_SIZE, _IMAGE_SIZE)
    # The configuration describes the published weights; the model may be built for other images.
    size = getattr(getattr(model, "patch_embed", None), "img_size", None) or size
    names = config.get("first_conv") or ()
    first = [names] if isinstance(names, str) else names[:1]
    stem = [module for name, module in model.named_modules() if name in first]
    return inputs.zeros(1, _num_channels(stem, channels), *size)


def _of_torchvision(
    model: nn.Module, inputs: _InputMaker, family: str
) -> torch.Tensor | tuple[Any, ...]:
    if family.startswith("detection."):
        transform: Any = model.transform
        size = transform.fixed_size or (min(transform.min_size),) * 2
        return ([inputs.zeros(len(transform.image_mean), *size)],)
    if family.startswith("optical_flow."):
        return inputs.zeros(1, 3, 128, 128), inputs.zeros(1, 3, 128, 128)
    channels = _num_channels(model.modules(), 3)
    if family.startswith("video."):
        return inputs.zeros(1, channels, _NUM_FRAMES, _IMAGE_SIZE, _IMAGE_SIZE)
    default = 299 if family.endswith("inception") else _IMAGE_SIZE
    height = width = getattr(model, "image_size", default)
    return inputs.zeros(1, channels, height, width)


def _num_channels(modules: Iterable[nn.Module], default: int) -> int:
    """Return how many channels the first convolution among modules reads."""
    convolutions = (m for m in modules if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d))
    channels = next((m.in_channels for m in convolutions), default)
    # Some stems fold patches into channels, e.g. 48 = 3 x 4 x 4; images have `default`.
    return channels if channels % default else default


def _of_transformers(model: nn.Module, inputs: _InputMaker) -> dict[str, Any]:
    """Make the arguments that a model's signature and configuration tell of."""
    signature = inspect.signature(model.forward).parameters
    required = {
        name
        for name, parameter in signature.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    config = model.config
    main = getattr(model, "main_input_name", "input_ids")
    wanted = {main} if isinstance(main, str) else set(main)
    # If tokens hold placeholders for images and sounds, their number would have to agree with
    # these, so tokens alone are made.
    if "input_ids" not in wanted or not _has_placeholders(config):
        wanted |= _MODALITIES.keys() & signature.keys()
    if not wanted | required <= {*_MODALITIES, "decoder_input_ids"}:
        return {}
    arguments: dict[str, Any] = {
        name: inputs.tokens(_tokens(config)) if shape is None else inputs.zeros(*shape(config))
        for name, shape in _MODALITIES.items()
        if name in wanted | required
    }
    if "decoder_input_ids" in signature:
        arguments["decoder_input_ids"] = inputs.tokens(_tokens(config))
    # A cache would be returned, and its tensors taken for outputs of the network.
    return arguments | ({"use_cache": False} if "use_cache" in signature else {})


def _setting(config: Any, *names: str, default: Any = None) -> Any:
    """Return a setting of a configuration or else of one that it contains."""
    for name in names:
        if (value := getattr(config, name, None)) is not None:
            return value
    parts = (value for value in vars(config).values() if hasattr(value, "model_type"))
    values = (_setting(part, *names) for part in parts)
    return next((value for value in values if value is not None), default)


def _settings_ending(config: Any, *suffixes: str) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if name.endswith(suffixes)}


def _has_placeholders(config: Any) -> bool:
    places = _settings_ending(config, "_token_id", "_token_index")
    return any(name.startswith(("image", "video", "audio")) for name in places)


def _tokens(config: Any) -> list[int]:
    """Choose tokens that mean nothing special, and the end of a sequence."""
    vocabulary = _setting(config, "vocab_size", default=_NUM_TOKENS)
    special = _settings_ending(config, "_token_id", "_token_index")
    plain = (token for token in range(vocabulary) if token not in special.values())
    most = _setting(config, "max_position_embeddings", default=_NUM_TOKENS)
    tokens = list(islice(plain, min(_NUM_TOKENS, most) if most > 0 else _NUM_TOKENS)) or [0]
    end = _setting(config, "eos_token_id")
    return [*tokens[:-1], end] if isinstance(end, int) and 0 <= end < vocabulary else tokens


def _image_shape(config: Any) -> tuple[int, ...]:
    size = _setting(config, "image_size", "input_size", default=_IMAGE_SIZE)
    height, width = (size, size) if isinstance(size, int) else size
    channels = _setting(config, "num_channels", "in_channels", default=3)
    frames = _setting(config, "num_frames")
    return (1, *([frames] if frames else []), channels, height, width)


def _video_shape(config: Any) -> tuple[int, ...]:
    size = _setting(config, "crop_size", "image_size", default=_IMAGE_SIZE)
    frames = _setting(config, "frames_per_clip", "num_frames", default=_NUM_FRAMES)
    return (1, frames, _setting(config, "in_chans", "num_channels", default=3), size, size)


def _features_shape(config: Any) -> tuple[int, ...]:
    if features := _setting(config, "feature_projection_input_dim"):
        return (1, _NUM_STEPS, features)
    if features := _setting(config, "input_feat_per_channel"):
        return (1, _NUM_STEPS, features * _setting(config, "input_channels", default=1))
    features = _setting(config, "num_mel_bins", default=80)
    if frames := _setting(config, "max_source_positions"):
        # The setting counts positions after convolutions over time that halve the frames.
        return (1, features, 2 * frames)
    return (1, _NUM_STEPS, features)


def _samples_shape(config: Any) -> tuple[int, ...]:
    if frames := getattr(config, "max_length", None):
        return (1, frames, _setting(config, "num_mel_bins", default=128))
    channels = getattr(config, "audio_channels", None)
    return (1, *([channels] if channels else []), _NUM_SAMPLES)


def _series_shape(config: Any) -> tuple[int, ...]:
    channels = _setting(config, "num_input_channels", default=1)
    return (1, _setting(config, "context_length", default=_NUM_STEPS), channels)


_MODALITIES: Mapping[str, Callable[[Any], tuple[int, ...]] | None] = {
    "input_ids": None,
    "pixel_values": _image_shape,
    "pixel_values_videos": _video_shape,
    "input_features": _features_shape,
    "input_values": _samples_shape,
    "past_values": _series_shape,
}
"""Arguments of models of transformers: their shape by configuration, None for tokens."""
