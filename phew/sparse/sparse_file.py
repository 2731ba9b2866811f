"""Files of sparse networks: kept weights, and for each weight a bit that says whether it is kept.

A file is the `state_dict()` of a sparse model in the safetensors format. Of a `Linear(3, 2)` named
`fc` with two kept weights it holds

    fc.weight    float32 (2,)    the kept weights
    fc.mask      uint8 (1,)      the bits of the mask (see `phew.masks.packed.PackedMasks`)
    fc.bias      float32 (2,)

A weight that is held but stays dense, such as `in_proj_weight` of attention, is stored in the same
way, its bits as `in_proj_weight.mask`. The metadata's entry "phew_sparse" is JSON that has the
shapes of the dense weights:

    {"format": 1, "phew_version": "0.1.0", "masks": {"fc.weight": [2, 3]}}
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phew._core import __version__
from phew.arguments import as_module
from phew.distributed.sharding import whole
from phew.masks.masks import Masks
from phew.masks.packed import PackedMasks, pack
from phew.masks.parameter_hold import ParameterHold
from phew.sparse.convert import to_sparse
from phew.sparse.kinds import holders_of, reasons_for_dense
from phew.sparse.report import SparseReport
from phew.sparse.sparse_layer import SparseLayer
from phew.sparse.state import masks_of_state
from phew.support.safetensors import check_checksum, open_checked, write_checked
from phew.support.warn import listed

_FORMAT = 1
_HEADER = "phew_sparse"
_MASK = ".mask"
_SAME_MODEL = (
    "Build the model as it was when it was saved, and save it without the DistributedDataParallel "
    "or torch.compile around it."
)


def save_sparse(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model to a safetensors file of its kept weights, whole or not at all.

    It takes a bit for each weight that has a mask, and the bytes of the kept ones: of float32 at a
    density of 10 % 0.525 bytes a weight. Weights that are held by masks but not converted (see
    `to_sparse`) are stored in the same way. Every rank must call it if weights are sharded.

    Args:
        model: The model; sparse, or held by masks.
        path: The file; replaced if it exists.

    Raises:
        OSError: If the file cannot be written.
        TypeError: If the model is no module, or its state has something else than tensors of
            usual types.

    Example:
        >>> import pathlib, tempfile, torch, phew
        >>> path = pathlib.Path(tempfile.mkdtemp(), "net.safetensors")
        >>> masks = phew.Masks({"weight": torch.eye(20, dtype=torch.bool)})
        >>> model = torch.nn.Linear(20, 20)
        >>> report = phew.to_sparse(model, masks)
        >>> phew.save_sparse(model, path)
        >>> copy = torch.nn.Linear(20, 20)
        >>> report = phew.load_sparse(copy, path)
        >>> copy.weight.equal(model.weight)
        True
    """
    model = as_module(model)
    state = model.state_dict()
    firsts = first_names(_checked(state))
    tensors = {
        name: whole(value.detach()).cpu() for name, value in state.items() if firsts[name] == name
    }
    shapes = {
        f"{name}.weight".removeprefix("."): list(layer.dense_shape)
        for name, layer in model.named_modules()
        if isinstance(layer, SparseLayer)
    }
    for name, mask in _held_masks(model):
        tensors[name] = tensors[name][mask]
        tensors[name + _MASK] = pack(mask)
        shapes[name] = list(mask.shape)
    header = {"format": _FORMAT, "phew_version": __version__, "masks": shapes}
    # Without the entry "format", transformers refuses a file.
    write_checked(Path(path), tensors, {"format": "pt", _HEADER: json.dumps(header)}, _HEADER)


def _checked(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"model must have a state of tensors alone, got {type(value).__name__} as "
                f"{name!r}. Save it with torch.save(model.state_dict(), path)."
            )
    return state


def load_sparse(
    model: nn.Module,
    source: str | os.PathLike[str] | Mapping[str, Tensor],
    *,
    example_inputs: Any = None,
) -> SparseReport:
    """Make a dense model the sparse one whose state was saved, masks and all.

    Args:
        model: The model, dense, built as the one that was saved.
        source: A file of `save_sparse`, another safetensors file of a sparse model's state, as the
            Trainer of transformers writes them, or such a state, e.g. of `torch.load`. Nothing in a
            safetensors file is executed.
        example_inputs: See `to_sparse`.

    Returns:
        The report of `to_sparse`.

    Raises:
        OSError: If there is no such file, or it cannot be read.
        TypeError: If an argument is of the wrong type.
        ValueError: If the file is cut off or damaged, or the state is not that of a sparse model
            like this one, which is unchanged then.

    Example: see `save_sparse`.
    """
    model = as_module(model)
    for name, module in model.named_modules():
        if isinstance(module, SparseLayer):
            raise ValueError(
                f"model must be dense, got the sparse layer {name!r}. "
                "Use model.load_state_dict, or build the model anew."
            )
    shapes: dict[str, torch.Size] = {}
    if isinstance(source, Mapping):
        state, found = dict(source), "a state"
    else:
        state, shapes = _read(Path(source))
        found = f"{os.fspath(source)!r}"
    try:
        masks = _take_masks(model, state, shapes)
    except ValueError as error:
        raise ValueError(
            f"source must be the state of a sparse model like this one, got {found}: {error}"
        ) from error
    report = to_sparse(model, masks, example_inputs=example_inputs)
    model.load_state_dict(state, strict=False)
    return report


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, torch.Size]]:
    """Read a file's tensors, which stay where they are on disk, and the shapes of dense weights."""
    with open_checked(path, "pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if "phew" in metadata:
        raise ValueError(
            f"source must be a file of a sparse model, got {str(path)!r}, which is of masks. "
            "Load it with phew.Masks.load."
        )
    if _HEADER not in metadata:
        return state, {}
    try:
        header = json.loads(metadata[_HEADER])
        if header["format"] != _FORMAT:
            raise ValueError(f"format must be {_FORMAT}, got {header['format']!r}")
        check_checksum(metadata, state, _HEADER)
        return state, {name: torch.Size(shape) for name, shape in header["masks"].items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"source must be a file that save_sparse wrote, got {str(path)!r}, which cannot be "
            f"read ({type(error).__name__}: {error}). "
            "Copy or save the model again, or upgrade torch-phew."
        ) from error


def _take_masks(
    model: nn.Module, state: dict[str, Tensor], shapes: Mapping[str, torch.Size]
) -> Masks:
    """Return the masks in a state, from which those of dense weights are taken.

    Args:
        model: The model, which is read only.
        state: The state; kept weights of what is no sparse layer become dense ones.
        shapes: The shapes of dense weights by name, as far as they are known.

    Raises:
        ValueError: If the state is not that of a sparse model like this one.
    """
    own = model.state_dict()
    keys = {key: None for key in state if key not in own and f".{key}".endswith(_MASK)}
    if not keys:
        raise ValueError("it has no masks. Use model.load_state_dict.")
    held = {name: key for key in keys if (name := key.removesuffix(_MASK)) in own}
    layers = {name for key in keys if (name := key.removesuffix("mask") + "weight") in own}
    layers -= held.keys()
    names = [name for name in state if name not in keys]
    masked = held.keys() | layers
    _check_names(own, names)
    _check_shapes(own, {name: state[name].shape for name in names if name not in masked})
    _check_shapes(own, shapes)
    _check_can_be_sparse(model, layers)
    masks = PackedMasks(
        {name: own[name].shape for name in held}, {name: state[key] for name, key in held.items()}
    )
    for name in [name for name in names if name in masked]:
        shape = tuple(state[name].shape)
        if len(shape) != 1 or (name in held and shape[0] != masks.num_kept(name)):
            raise ValueError(f"{name!r} must be the kept weights of a mask, got the shape {shape}.")
    for name, key in held.items():
        del state[key]
        dense = state[name].new_zeros(own[name].shape)
        state[name] = dense.masked_scatter_(masks[name], state[name])
    if layers:
        of_layers = masks_of_state(model, state).pack()
        masks = PackedMasks(masks.shapes | of_layers.shapes, {**masks.packed, **of_layers.packed})
    return Masks(masks)


def _check_names(own: Mapping[str, Tensor], names: Collection[str]) -> None:
    """Refuse names that a model does not have, and the lack of others, but for tied ones."""
    firsts = first_names(own)
    found = {firsts.get(name) for name in names}
    unknown = sorted(name for name in names if name not in own)
    missing = [name for name, first in firsts.items() if first not in found]
    if unknown or missing:
        differences = [
            f"{verb} {listed(map(repr, some))}"
            for verb, some in (("has", unknown), ("lacks", missing))
            if some
        ]
        raise ValueError(f"it {' and '.join(differences)}. {_SAME_MODEL}")


def _check_shapes(own: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> None:
    for name, shape in shapes.items():
        if name in own and shape != own[name].shape:
            raise ValueError(
                f"{name!r} has the shape {tuple(shape)} there, and {tuple(own[name].shape)} in the "
                f"model. {_SAME_MODEL}"
            )


def _check_can_be_sparse(model: nn.Module, names: Collection[str]) -> None:
    for name, reason in reasons_for_dense(model, holders_of(model)):
        if name in names:
            raise ValueError(f"the layer of {name!r} cannot be sparse in the model: {reason}.")


def _held_masks(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the mask of each parameter that is held, true = kept."""
    for name, parameter in model.named_parameters():
        hold = ParameterHold.on(parameter)
        if hold is not None:
            yield name, whole(hold.pruned.mask()).cpu()


def first_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Map each name in a state to the first name of the same tensor: tied weights have several."""
    name_of: dict[object, str] = {}
    firsts = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        firsts[name] = name_of.setdefault(place if tensor.data_ptr() else name, name)
    return firsts
