"""Read from a saved state which weights of a model are kept."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from phew.masks.masks import Masks
from phew.masks.packed import PackedMasks, num_bytes, pack, unpack
from phew.sparse.kinds import holders_of
from phew.sparse.layers import is_transposed


def masks_of_state(model: nn.Module, state_dict: Mapping[str, Tensor]) -> Masks:
    """Return the masks of the sparse layers in a state, with which a dense model becomes sparse.

    The masks of weights that had stayed dense are not in a state: they are no sparse layers.

    Args:
        model: The dense model, of which only shapes are read.
        state_dict: The `state_dict()` of the sparse model, e.g. from a safetensors file.

    Returns:
        The masks, for `phew.to_sparse`.

    Raises:
        ValueError: If there is no sparse layer in the state, or one that the model has not.

    Example:
        >>> import torch, phew
        >>> from phew.sparse.state import masks_of_state
        >>> model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
        >>> report = phew.to_sparse(model, {"weight": torch.eye(2, 3, dtype=torch.bool)})
        >>> state = model.state_dict()
        >>> report = phew.to_sparse(other, masks_of_state(other, state))
        >>> other.load_state_dict(state)
        <All keys matched successfully>
    """
    holders = holders_of(model)
    shapes, packed = {}, {}
    for key, bits in state_dict.items():
        name = key.removesuffix("mask") + "weight"
        vector = state_dict.get(name)
        is_sparse = key == "mask" or key.endswith(".mask")
        if not is_sparse or bits.dtype != torch.uint8 or vector is None or vector.dim() != 1:
            continue
        holder = holders.get(name)
        if holder is None:
            raise ValueError(f"model must have the weights of the state, got none named {name!r}.")
        module, local = holder
        weight = module._parameters[local]
        assert weight is not None
        num_kept = PackedMasks({name: (8 * len(bits),)}, {name: bits.cpu()}).num_kept(name)
        if len(bits) != num_bytes(weight.shape) or len(vector) != num_kept:
            raise ValueError(
                f"{name!r} must be a sparse weight of the shape {tuple(weight.shape)}, got "
                f"{len(vector):,} kept weights and {len(bits):,} bytes of mask."
            )
        shapes[name], packed[name] = weight.shape, bits.cpu()
        if is_transposed(module):
            packed[name] = pack(unpack(bits.cpu(), weight.shape[::-1]).t())
    if not shapes:
        raise ValueError("state_dict must have sparse layers, got none.")
    return Masks(PackedMasks(shapes, packed))
