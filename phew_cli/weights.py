"""Files of weights: --weights loads one into a network, all of it or nothing.

Programs save a state dict as it is or beside other things. Where the network is a part of another
module, as of DistributedDataParallel or a LightningModule, all names have a prefix:

    {"epoch": 9, "state_dict": {"module.fc.weight": ..., "module.fc.bias": ...}}
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from phew.checkpoints.stored_tensors import Checkpoint
from phew.sparse.sparse_file import first_names
from phew.support.files import check_regular
from phew.support.warn import listed

_ENTRIES = ("state_dict", "model_state_dict", "model")
"""Names under which programs save a state dict beside other things."""

_BIN = "pytorch_model.bin"
"""The file of a state dict in older folders of transformers."""


def load_weights(network: nn.Module, path: Path) -> list[str]:
    """Load a file of weights into a network.

    Returns:
        What was taken off around the state dict, in words.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is no file of a state dict, or not of this network.
    """
    own = network.state_dict()
    state, taken_off = _read(path)
    if prefix := _prefix_of(state, own):
        # It keeps the versions of modules, which `state_dict()` has beside the names.
        consume_prefix_in_state_dict_if_present(state, prefix)
        taken_off.append(f"the prefix {prefix!r} of all names was taken off")
    rule = f"--weights must be of this MODEL, got {str(path)!r}"
    others = [
        f"{name!r} of {_kind(state[name])} and not {_kind(own[name])}"
        for name in state
        if name in own and _kind(state[name]) != _kind(own[name])
    ]
    if others:
        raise ValueError(
            f"{rule}, which has {listed(others)}. "
            "Give the MODEL that the weights are of, e.g. by file.py:callable."
        )
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except Exception as error:
        raise ValueError(f"{rule}: {error}") from error
    firsts = first_names({name: each for name, each in own.items() if torch.is_tensor(each)})
    found = {firsts.get(name) for name in state}
    # Files may hold tied weights once.
    missing = [name for name in missing if firsts.get(name, name) not in found]
    differences = [
        f"{verb} {listed(map(repr, names))}"
        for verb, names in (("lacks", missing), ("also has", unexpected))
        if names
    ]
    if differences:
        raise ValueError(
            f"{rule}, which {' and '.join(differences)}. Give the MODEL that the weights are of, "
            "or rename them in a state dict of its names."
        )
    return taken_off


def _read(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the state dict in a file, and which entries of the file were taken for it."""
    rule = f"--weights must be a file of a state dict, got {str(path)!r}"
    if path.is_dir() and not any(path.glob("*.safetensors*")) and (path / _BIN).exists():
        raise ValueError(f"{rule}, a folder without safetensors files. Give its {_BIN}.")
    if path.is_dir() or path.suffix == ".safetensors":
        source = Checkpoint(path)
        return {name: source.copy_of(name) for name in source.names}, []
    check_regular(path)
    remedy = "Save model.state_dict() alone with torch.save."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # Bytes that are no pickle lead torch to errors of many types.
        other = re.search(r"GLOBAL (\S+)", str(error))
        what = "cannot be read" if other is None else f"holds a {other[1]}, which may run code"
        raise ValueError(f"{rule}, which {what}. {remedy}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{rule}, which is of a {type(content).__name__}. {remedy}")
    state, taken_off = _entry_of(content)
    others = [name for name in state if not isinstance(name, str)]
    if others:
        raise ValueError(f"{rule}, in which {others[0]!r} is the name of a tensor. {remedy}")
    return state, taken_off


def _entry_of(content: dict[Any, Any]) -> tuple[dict[Any, Any], list[str]]:
    """Return the state dict in the content of a file, and which entries were taken for it."""
    taken_off = []
    entries = [*_ENTRIES]
    while entry := next((each for each in entries if isinstance(content.get(each), dict)), None):
        content = content[entry]
        taken_off.append(f"the entry {entry!r} was taken")
        entries.remove(entry)
    return content, taken_off


def _prefix_of(names: Collection[str], own: Collection[str]) -> str:
    """Return what all names have in front of names of the network, "" where that is nothing.

    Names "net.0.bias" and "net.0.weight" of a network that has "0.bias" and "0.weight" begin with
    "net.".
    """
    first = next(iter(names), "")
    prefixes = ["", *(first.removesuffix(name) for name in own if first.endswith(f".{name}"))]
    for prefix in sorted(prefixes, key=len):
        if all(name.startswith(prefix) and name.removeprefix(prefix) in own for name in names):
            return prefix
    return ""


def _kind(value: Any) -> str:
    """Return the shape of a tensor, and its type where it is not of real numbers."""
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    shape = f"shape {tuple(value.shape)}"
    if value.is_complex():
        return f"{shape} of complex numbers"
    return shape if value.is_floating_point() else f"{shape} of {value.dtype}"
