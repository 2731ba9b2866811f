"""Seconds and memory of capturing well-known models at full size, each in a fresh process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from support.machine import median_seconds, peak_memory
from torch import Tensor, nn

import phew
from phew.graph import WeightedLink


class Model(NamedTuple):
    """A model of the table.

    Attributes:
        input: The input in words.
        build: Builds the model and its input.
        device: "meta" for weights without memory.
    """

    input: str
    build: Callable[[], tuple[nn.Module, Tensor]]
    device: str = "cpu"


def _image_model(name: str) -> tuple[nn.Module, Tensor]:
    from zoo.torchvision_models import build

    return build(name), torch.zeros(1, 3, 224, 224)


def _resnet50() -> tuple[nn.Module, Tensor]:
    return _image_model("resnet50")


def _vit_b_16() -> tuple[nn.Module, Tensor]:
    return _image_model("vit_b_16")


def _llama(num_tokens: int, **options: Any) -> tuple[nn.Module, Tensor]:
    from zoo.transformers_models import build

    config = {"num_key_value_heads": 8, "num_attention_heads": 32, "use_cache": False, **options}
    model = build("LlamaForCausalLM", "LlamaConfig", config)
    return model, torch.zeros(1, num_tokens, dtype=torch.long)


def _llama_of_8_layers() -> tuple[nn.Module, Tensor]:
    sizes = {"hidden_size": 2048, "intermediate_size": 8192, "vocab_size": 32_000}
    return _llama(128, num_hidden_layers=8, **sizes)


def _llama_3_8b() -> tuple[nn.Module, Tensor]:
    sizes = {"hidden_size": 4096, "intermediate_size": 14_336, "vocab_size": 128_256}
    return _llama(128, num_hidden_layers=32, **sizes)


FULL_SIZE = {
    "ResNet-50": Model("1 x 3 x 224 x 224", _resnet50),
    "ViT-B/16": Model("1 x 3 x 224 x 224", _vit_b_16),
    "Llama, 8 layers of 2048": Model("128 tokens", _llama_of_8_layers),
    "Llama-3-8B on the meta device": Model("128 tokens", _llama_3_8b, "meta"),
}


@dataclass(frozen=True)
class Size:
    """The time and memory that the capture of a model takes.

    Attributes:
        model: The name in the table.
        input: The input in words.
        num_weights: The number of prunable weights.
        weight_bytes: The bytes of all parameters.
        num_links: The number of weighted links.
        capture_seconds: The median seconds of capture.
        forward_seconds: The median seconds of a forward pass without gradients, None if the weights
            have no memory.
        peak_memory: The most bytes that the process has held, after the first capture.
        capture_memory: The bytes by which the first capture raised this maximum, when the model
            had been built and run.
    """

    model: str
    input: str
    num_weights: int
    weight_bytes: int
    num_links: int
    capture_seconds: float
    forward_seconds: float | None
    peak_memory: int
    capture_memory: int


def measure_size(name: str) -> Size:
    """Measure a model in a fresh process, whose memory holds nothing of other models."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        return executor.submit(_measure_size, name).result()


def _measure_size(name: str) -> Size:
    phew.capture(nn.Linear(2, 2), torch.zeros(1, 2))  # a first capture imports and compiles
    description = FULL_SIZE[name]
    with torch.device(description.device):
        model, example_input = description.build()
    model.eval()
    forward_seconds = None
    if description.device == "cpu":
        with torch.no_grad():
            model(example_input)
            forward_seconds = median_seconds(lambda: model(example_input))
    before = peak_memory()
    graph = phew.capture(model, (example_input,))
    peak = peak_memory()
    return Size(
        model=name,
        input=description.input,
        num_weights=graph.num_prunable_weights,
        weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
        num_links=sum(isinstance(link, WeightedLink) for link in graph.links),
        capture_seconds=median_seconds(lambda: phew.capture(model, (example_input,))),
        forward_seconds=forward_seconds,
        peak_memory=peak,
        capture_memory=peak - before,
    )
