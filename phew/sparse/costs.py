"""Count what a model costs once its masked layers are sparse."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from phew.masks.packed import PackedMasks, num_bytes
from phew.masks.unpacked import UnpackedMasks
from phew.sparse.indices import columns_dtype
from phew.sparse.report import LayerCost, SparseReport
from phew.sparse.trial import Trial


def report_of(
    model: nn.Module,
    masks: PackedMasks | UnpackedMasks,
    holders: Mapping[str, tuple[nn.Module, str]],
    reasons: Mapping[str, str],
    trial: Trial,
) -> SparseReport:
    """Count the costs of a model that is dense still.

    Args:
        model: The model.
        masks: Its masks.
        holders: Name of each parameter to the module that has it, and its name there.
        reasons: Name of a masked parameter that stays dense to the reason.
        trial: What a run of the model showed.
    """
    costs: dict[Tensor, LayerCost] = {}
    for name in masks:
        module, local = holders[name]
        weight = module._parameters[local]
        assert weight is not None
        if weight not in costs:
            uses = trial.num_uses.get(id(module)) if local == "weight" else None
            uses = None if id(module) in trial.read else uses
            costs[weight] = _cost(name, weight, masks.num_kept(name), reasons.get(name), uses)
    others = [
        tensor
        for tensor in (*model.parameters(), *model.buffers())
        if tensor not in costs and not is_lazy(tensor)
    ]
    size = sum(tensor.numel() * tensor.element_size() for tensor in others)
    num_weights = sum(tensor.numel() for tensor in others if isinstance(tensor, nn.Parameter))
    operations = None
    if trial.note is None:
        layers = {id(module): module._parameters.get("weight") for module in model.modules()}
        weights = {layer: layers[layer] for layer in trial.num_uses}
        operations = sum(
            trial.num_uses[layer] * weight.numel()
            for layer, weight in weights.items()
            if weight is not None and weight not in costs
        )
    other = LayerCost("", None, num_weights, num_weights, size, size, operations, operations)
    return SparseReport(tuple(costs.values()), other, trial.note)


def _cost(
    name: str, weight: Tensor, num_kept: int, reason: str | None, num_uses: int | None
) -> LayerCost:
    size = dense_size = weight.numel() * weight.element_size()
    operations = dense_operations = None if num_uses is None else num_uses * weight.numel()
    if reason is None:
        places = num_bytes(weight.shape) + 8 * (len(weight) + 1)
        size = num_kept * (weight.element_size() + columns_dtype(weight.shape).itemsize) + places
        operations = None if num_uses is None else num_uses * num_kept
    return LayerCost(
        *(name, reason, num_kept, weight.numel(), size, dense_size, operations, dense_operations)
    )
