"""Checkpoints as Hugging Face saves them."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
from torch import nn

SHARDS = 3


def save(model: nn.Module, folder: Path, *, num_shards: int = 1) -> Path:
    """Save a model as Hugging Face does, in one file or several."""
    folder.mkdir(exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if num_shards == 1:
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
        return folder
    weight_map: dict[str, str] = {}
    for number in range(num_shards):
        names = list(tensors)[number::num_shards]
        file = f"model-{number + 1:05}-of-{num_shards:05}.safetensors"
        safetensors.torch.save_file({name: tensors[name] for name in names}, folder / file)
        weight_map |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text("{}")
    return folder
