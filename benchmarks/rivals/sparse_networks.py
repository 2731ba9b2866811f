"""Networks and layers under masks, whose dense and sparse products are compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from zoo import torchvision_operators  # noqa: F401  torchvision and timm cannot be imported before

import phew
from phew.models import NETWORKS


@dataclass(frozen=True)
class Masked:
    """A network whose pruned weights are zero, in evaluation mode, and an example of its input."""

    model: nn.Module
    masks: phew.Masks
    example: Tensor

    def copy(self) -> nn.Module:
        return copy.deepcopy(self.model)

    def with_batch(self, batch: int) -> Masked:
        torch.manual_seed(1)
        return Masked(self.model, self.masks, torch.randn(batch, *self.example.shape[1:]))


class LlamaBlock(nn.Module):
    """A layer of a Llama, which takes and returns the states (batch, tokens, hidden)."""

    def __init__(self, hidden: int, intermediate: int, num_heads: int) -> None:
        super().__init__()
        from transformers import LlamaConfig
        from transformers.models.llama.modeling_llama import (
            LlamaDecoderLayer,
            LlamaRotaryEmbedding,
        )

        config = LlamaConfig(
            hidden_size=hidden,
            intermediate_size=intermediate,
            num_attention_heads=num_heads,
            num_key_value_heads=num_heads,
            num_hidden_layers=1,
        )
        # A model sets it, but a layer alone does not, and then attention warns.
        config._attn_implementation = "sdpa"
        self.layer = LlamaDecoderLayer(config, 0)
        self.rotary = LlamaRotaryEmbedding(config)

    def forward(self, states: Tensor) -> Tensor:
        positions = torch.arange(states.shape[1])[None]
        output = self.layer(states, position_embeddings=self.rotary(states, positions))
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result


def _resnet50() -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.resnet50()
    return model


def _vit() -> nn.Module:
    import timm

    # torchvision's packs the projections of attention, which stay dense.
    model: nn.Module = timm.create_model("vit_base_patch16_224")
    return model


BUILDERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "ResNet-50": (_resnet50, (3, 224, 224)),
    "VGG-19": (NETWORKS["vgg19_bn"].build, (3, 32, 32)),
    "ResNet-20": (NETWORKS["resnet20"].build, (3, 32, 32)),
    "ViT-B/16": (_vit, (3, 224, 224)),
    "Llama block, 1 token": (lambda: LlamaBlock(4096, 11_008, 32), (1, 4096)),
    "Llama block, 16 tokens": (lambda: LlamaBlock(4096, 11_008, 32), (16, 4096)),
    "LeNet-300-100": (NETWORKS["lenet_300_100"].build, (1, 28, 28)),
}
"""How to build a network, and the shape of one of its inputs."""


def masked_networks(name: str, densities: Sequence[float]) -> dict[float, Masked]:
    """Build a network and prune it with PHEW, once for each density."""
    torch.manual_seed(0)
    build, shape = BUILDERS[name]
    model = build().eval()
    example = torch.randn(1, *shape)
    masks = {each: phew.sample_masks(model, example, density=each) for each in densities}
    return {each: masked(model, masks[each], example) for each in densities}


def masked_layer(layer: nn.Module, density: float, example: Tensor) -> Masked:
    """Keep a share of a layer's weights, drawn evenly."""
    torch.manual_seed(0)
    weight = layer.get_parameter("weight")
    num_kept = round(density * weight.numel())
    mask = torch.zeros(weight.shape, dtype=torch.bool)
    mask.view(-1)[torch.randperm(weight.numel())[:num_kept]] = True
    return masked(nn.Sequential(layer), phew.Masks({"0.weight": mask}), example)


def masked(model: nn.Module, masks: phew.Masks, example: Tensor) -> Masked:
    """Copy a model, and set its pruned weights to zero without holding them there."""
    model = copy.deepcopy(model).eval()
    for name, mask in masks.items():
        with torch.no_grad():
            model.get_parameter(name).mul_(mask)
    return Masked(model, masks, example)


@dataclass(frozen=True)
class ConvShape:
    """A convolution whose output has `size` x `size` pixels."""

    in_channels: int
    out_channels: int
    kernel_size: int
    size: int

    @property
    def name(self) -> str:
        kernel = f"{self.kernel_size}x{self.kernel_size}"
        return f"conv {kernel}, {self.in_channels} to {self.out_channels}, {self.size} pixels"

    def build(self) -> tuple[nn.Module, Tensor]:
        torch.manual_seed(0)
        padding = self.kernel_size // 2
        layer = nn.Conv2d(
            self.in_channels, self.out_channels, self.kernel_size, padding=padding, bias=False
        )
        return layer, torch.randn(1, self.in_channels, self.size, self.size)


def linear(size: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(size, size), torch.randn(1, size)
