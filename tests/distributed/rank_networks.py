"""The networks that processes walk on together, whole and in shards."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import small_networks
import torch
from torch import distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import phew


def resnet20() -> tuple[nn.Module, Any]:
    return small_networks.resnet20(), small_networks.COLOUR_IMAGE


def lenet5() -> tuple[nn.Module, Any]:
    return small_networks.lenet5(), small_networks.IMAGE


def llama() -> tuple[nn.Module, Any]:
    # A language model does not need torchvision, which takes long to import.
    sys.modules["torchvision"] = None  # type: ignore[assignment]
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config), {"input_ids": torch.zeros(1, 5, dtype=torch.int64)}


Case = tuple[Callable[[], tuple[nn.Module, Any]], dict[str, Any]]

CASES: dict[str, Case] = {
    "resnet20": (resnet20, {"densities": [0.01, 0.1, 0.5, 0.9]}),
    "resnet20 by mass": (resnet20, {"densities": [0.3], "fork": "mass", "seed": 2**64 - 1}),
    "lenet5": (lenet5, {"densities": [1e-5, 1e-4, 0.05, 0.3]}),
    "lenet5 by kernels": (lenet5, {"densities": [0.2], "granularity": "kernel", "power": 2}),
    "lenet5 uniformly": (lenet5, {"densities": [0.2], "power": 0, "exclude": ["*1.weight"]}),
    "llama": (llama, {"densities": [0.02, 0.2, 0.6]}),
}


def shard(model: nn.Module) -> nn.Module:
    """Shard some modules by themselves, and what is left with the whole."""
    parents = [module for module in model.modules() if isinstance(module, nn.Sequential)]
    for module in [*parents[-2:], *getattr(getattr(model, "model", None), "layers", [])]:
        if module is not model:
            fully_shard(module)
    fully_shard(model)
    return model


def sample(model: Any, inputs: Any = None, **options: Any) -> Any:
    """Call `sample_masks` on all ranks together."""
    return phew.sample_masks(model, inputs, group=dist.group.WORLD, **options)
