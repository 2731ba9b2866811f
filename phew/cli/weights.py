"""Files of weights: --weights loads one into a network, all of it or nothing.

Programs save a state dict as it is, or wrap it, as in a checkpoint of a network in
DistributedDataParallel:

    {"epoch": 9, "state_dict": {"module.fc.weight": ..., "module.fc.bias": ...}}
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
import typer
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from phew.checkpoints.stored_tensors import Checkpoint
from phew.sparse.sparse_file import first_names
from phew.support.files import check_regular
from phew.support.warn import listed

Weights: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Load these weights into MODEL, all of them: a state dict that torch.save wrote "
        "(.pt, .pth, .bin), of which nothing is executed, or a safetensors file or a folder of "
        "them.",
    ),
]

_ENTRIES = ("state_dict", "model_state_dict", "model")
"""Names under which programs save a state dict beside other things."""

_PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put in front of the names of a network."""


def load_weights(network: nn.Module, path: Path) -> list[str]:
    """Load a file of weights into a network.

    Returns:
        What was taken off around the state dict, in words.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is no file of a state dict, or not of this network.
    """
    own = network.state_dict()
    state, taken_off = _unwrapped(_read(path), own.keys())
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


def _read(path: Path) -> dict[str, Any]:
    if path.is_dir() or path.suffix == ".safetensors":
        source = Checkpoint(path)
        return {name: source.copy_of(name) for name in source.names}
    check_regular(path)
    rule = f"--weights must be a file of a state dict, got {str(path)!r}"
    remedy = "Save model.state_dict() alone with torch.save."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        other = re.search(r"GLOBAL (\S+)", str(error))
        what = "cannot be read" if other is None else f"holds a {other[1]}, which may run code"
        raise ValueError(f"{rule}, which {what}. {remedy}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{rule}, which is of a {type(content).__name__}. {remedy}")
    return content


def _unwrapped(content: dict[str, Any], own: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the state dict in the content of a file, and what was taken off."""
    taken_off = []
    for entry in _ENTRIES:
        if isinstance(content.get(entry), dict):
            content = content[entry]
            taken_off.append(f"the entry {entry!r} was taken")
    while (prefix := _prefix_of(content)) is not None and _prefix_of(own) is None:
        # It keeps the versions of modules, which `state_dict()` has beside the names.
        consume_prefix_in_state_dict_if_present(content, prefix)
        taken_off.append(f"the prefix {prefix!r} of all names was taken off")
    return content, taken_off


def _prefix_of(names: Collection[str]) -> str | None:
    """Return the prefix of a wrapper that all names have, if there is one."""
    for prefix in _PREFIXES:
        if names and all(str(name).startswith(prefix) for name in names):
            return prefix
    return None


def _kind(value: Any) -> str:
    """Say of what shape a tensor is, and whether of numbers that weights are."""
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    is_number = value.is_floating_point() or value.is_complex()
    return f"shape {tuple(value.shape)}" + ("" if is_number else f" of {value.dtype}")
