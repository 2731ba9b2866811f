"""Models change between dense layers that are held by masks and sparse layers, in place."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from phew.arguments import as_module
from phew.distributed.sharding import reshard
from phew.graph.notes import LeftDenseWarning
from phew.masks.facts import Facts
from phew.masks.fit import check_fit
from phew.masks.masks import Masks
from phew.masks.other_weights import warn_of_other_weights
from phew.masks.packed import PackedMasks
from phew.masks.rescaling import Rescale, factors_of, multiply, scale_of
from phew.sparse.costs import report_of
from phew.sparse.geometry import Way, check_way
from phew.sparse.holding import hold_beside, let_go
from phew.sparse.kinds import (
    SPARSE_CLASSES,
    holders_of,
    reasons_for_dense,
    sparse_class_of,
    weighted_layers,
)
from phew.sparse.loading import check_states, stop_checking_states
from phew.sparse.replaced import mark_replaced
from phew.sparse.report import SparseReport
from phew.sparse.sparse_layer import SparseLayer
from phew.sparse.trial import Trial, trial_of
from phew.support.warn import listed, warn_caller

DENSEST = 0.5
"""The density of the densest layers that become sparse. Where more is kept,
convolutions and linear layers of many inputs are slower than dense ones, and little memory is
saved: a quarter at 50 %, nothing at 65 %."""

_ORIGIN = "_phew_sparse_origin"
"""The attribute of a converted model that has its `_Origin`."""


class _Origin(NamedTuple):
    """The masks of a converted model, but for those that its sparse layers have.

    Attributes:
        names: The names of all masks.
        dense: The masks of weights that stay dense.
        unit_masks: See `Masks`.
        facts: See `Masks`.
    """

    names: tuple[str, ...]
    dense: Masks
    unit_masks: Mapping[str, Tensor]
    facts: Facts


def to_sparse(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    *,
    example_inputs: Any = None,
    way: Way = "auto",
    rescale: Rescale = "none",
) -> SparseReport:
    """Change a model's layers into sparse ones, in place: they have nothing but kept weights.

    Linear layers and convolutions become `phew.sparse.Linear`, `Conv1d`, `Conv2d` and `Conv3d`,
    whose `weight` is the vector of the kept weights. So gradients, optimizer states and what
    processes send each other are of kept weights alone. Layers keep their hooks, attributes and
    names. What cannot be converted, or keeps so many weights that little is gained, stays dense,
    and the masks are held there as by `Masks.apply`; the report says which and why.

    Optimizers are to be made afterwards: the step of one that was made before raises.

    The keys of `state_dict()` are those of the dense model, and `mask` beside each sparse
    `weight`. `load_state_dict` takes states of the sparse and of the dense model.

    Args:
        model: The model that the masks were made from, dense, with the masks applied or not.
        masks: The masks, as `phew.sample_masks` makes them; true = kept. Those that were made from
            other weights are warned of (see `Masks.apply`).
        example_inputs: What the model accepts: a tensor, a tuple of positional or a dict of
            keyword arguments. The dense model runs once on it, in evaluation mode, to count
            operations, and to see which weights are read by others than their layer, which stay
            dense. May be left out: then it runs if it describes its input, as models of timm,
            torchvision and transformers do.
        way: How products are made: "sparse", by loops over kept weights alone, where there are
            such (see `phew.sparse.SparseLayer`); "dense", by expanding the weight for the moment
            of each product; "auto", for each product in the way that is faster.
        rescale: By what each unit's kept weights are multiplied (see `Masks.apply`).

    Returns:
        The layers, and what the network now costs; `print` shows a table.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the masks do not fit the model, it is sparse already, there is no such way,
            or its weights cannot be rescaled (see `Masks.apply`). The model is unchanged then, and
            whatever else is raised.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4))
        >>> masks = phew.Masks({"0.weight": torch.eye(6, 8, dtype=torch.bool)})
        >>> report = phew.to_sparse(model, masks, example_inputs=torch.zeros(1, 8))
        >>> model[0].weight.shape
        torch.Size([6])
        >>> print(report)
        parameter      kept  weights  density  bytes  of dense  operations  of dense
        ----------------------------------------------------------------------------
        0.weight          6       48    12.5%     98     51.0%           6     12.5%
        without masks    34       34   100.0%    136    100.0%          24    100.0%
        ----------------------------------------------------------------------------
        total            40       82    48.8%    234     71.3%          30     41.7%
    """
    model = as_module(model)
    check_way(way)
    sparse = [name for name, module in model.named_modules() if isinstance(module, SparseLayer)]
    if sparse:
        raise ValueError(
            f"model must be dense, got the sparse layers {listed(sparse)}. Call phew.to_dense."
        )
    masks = masks if isinstance(masks, Masks) else Masks(masks)
    reshard(model)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    check_fit(masks.contents, parameters)
    factors = factors_of(parameters, masks.contents, masks.fan_ins, rescale)
    warn_of_other_weights(masks.contents, masks.digests, parameters)
    trial = trial_of(model, weighted_layers(model), example_inputs)
    holders = holders_of(model)
    reasons = _reasons(model, masks, holders, trial)
    layers = {holders[name][0]: name for name in masks if name not in reasons}
    report = report_of(model, masks.contents, holders, reasons, trial)
    if reasons and not layers:
        _warn_of_no_layer(reasons)
    weights = {layer: layer.get_parameter("weight") for layer in layers}
    changes = []
    for layer, name in layers.items():
        kind = sparse_class_of(layer)
        assert kind is not None
        own = factors.pop(weights[layer], None)
        scale = None if own is None else scale_of(weights[layer], own)
        changes.append(kind.change_to_sparse(layer, masks.contents[name], way, scale))
    dense = Masks({name: masks.contents[name] for name in reasons})
    with _undone_on_failure(model):
        for change in changes:
            change()
        model.__dict__[_ORIGIN] = _Origin(tuple(masks), dense, masks.unit_masks, masks.facts)
        check_states(model)
        hold_beside(model, dense)
    multiply(factors)
    let_go(weights)
    mark_replaced(weights.values(), "to_sparse")
    return report


def _warn_of_no_layer(reasons: Mapping[str, str]) -> None:
    (name, reason), *others = reasons.items()
    more = f", and {len(others)} others are dense too" if others else ""
    warn_caller(
        f"to_sparse made no layer sparse: {name!r} stays dense, because {reason}{more}. The "
        "report says why of each.",
        LeftDenseWarning,
    )


def _reasons(
    model: nn.Module, masks: Masks, holders: Mapping[str, tuple[nn.Module, str]], trial: Trial
) -> dict[str, str]:
    """Return why some masked parameters stay dense, by their names."""
    reasons = dict(reasons_for_dense(model, holders))
    for name, (module, _) in holders.items():
        if id(module) in trial.read:
            reasons.setdefault(name, "it is read by other code than its layer")
    for name in masks:
        share = masks.contents.num_kept(name) / max(masks.contents.shapes[name].numel(), 1)
        if share > DENSEST:
            reasons.setdefault(name, f"little is gained where more than {DENSEST:.0%} is kept")
    return {name: reasons[name] for name in masks if name in reasons}


def to_dense(model: nn.Module) -> Masks:
    """Change the sparse layers of a model back into the dense ones that they were, in place.

    The weights are those of the sparse model, and zeros, and the masks are held as by
    `Masks.apply`. Optimizers are to be made afterwards: the step of one that was made before
    raises.

    Args:
        model: The model, or a part of it or a wrapper around it.

    Returns:
        The masks that are held.

    Raises:
        TypeError: If the model is no module.
        ValueError: If the model is not sparse, its sparse layers were sharded or parametrised, or
            a mask does not fit a weight that stayed dense. The model is unchanged then, and
            whatever else is raised.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2))
        >>> masks = phew.Masks({"0.weight": torch.eye(2, 3, dtype=torch.bool)})
        >>> report = phew.to_sparse(model, masks)
        >>> phew.to_dense(model) == masks
        True
        >>> model
        Sequential(
          (0): Linear(in_features=3, out_features=2, bias=True)
        )
    """
    model = as_module(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    origins = {
        path: module.__dict__[_ORIGIN]
        for path, module in modules.items()
        if _ORIGIN in module.__dict__
    }
    layers = {path: module for path, module in modules.items() if isinstance(module, SparseLayer)}
    if not layers and not origins:
        raise ValueError("model must be sparse, got one without sparse layers.")
    for path, layer in layers.items():
        if type(layer) not in SPARSE_CLASSES:
            raise ValueError(
                f"{path!r} must be a layer as phew.to_sparse makes it, got a "
                f"{type(layer).__name__}. Load its state into a sparse model that is not sharded "
                "or parametrised, and call phew.to_dense on that."
            )
    masks = _masks_of(layers, origins)
    dense = {
        _joined(path, name): mask
        for path, origin in origins.items()
        for name, mask in origin.dense.items()
    }
    check_fit(dense, dict(model.named_parameters(remove_duplicate=False)))
    vectors = {layer: layer.weight for layer in layers.values()}
    changes = [layer.change_to_dense() for layer in vectors]
    with _undone_on_failure(model):
        for change in changes:
            change()
        for path in origins:
            del modules[path].__dict__[_ORIGIN]
            stop_checking_states(modules[path])
        hold_beside(model, masks.contents)
    mark_replaced(vectors.values(), "to_dense")
    return masks


def _masks_of(layers: Mapping[str, SparseLayer], origins: Mapping[str, _Origin]) -> Masks:
    """Return the masks of a sparse model, as they were given."""
    masks: dict[str, Tensor] = {}
    unit_masks: dict[str, Tensor] = {}
    facts: dict[str, dict[str, Any]] = {kind: {} for kind in Facts._fields}
    seen: set[SparseLayer] = set()
    for path, origin in origins.items():
        names = {}
        for name in origin.names:
            full = _joined(path, name)
            layer = layers.get(full.removesuffix("weight").removesuffix("."))
            if name in origin.dense:
                masks[full] = origin.dense[name]
            elif layer is not None:
                masks[full] = layer.dense_mask()
                seen.add(layer)
            else:
                continue
            names[name] = full
        unit_masks |= {_joined(path, name): mask for name, mask in origin.unit_masks.items()}
        for kind, known in origin.facts._asdict().items():
            if kind != "info":
                known = {names[name]: each for name, each in known.items() if name in names}
            facts[kind] = {**known, **facts[kind]}
    for path, layer in layers.items():
        if layer not in seen:
            masks[_joined(path, "weight")] = layer.dense_mask()
            seen.add(layer)
    return Masks(PackedMasks.of(masks), unit_masks=unit_masks, **facts)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@contextmanager
def _undone_on_failure(model: nn.Module) -> Iterator[None]:
    """Put back the classes and attributes of a model's modules if an exception is raised."""
    saved = [
        (
            module,
            type(module),
            dict(module.__dict__),
            {
                name: copy.copy(value)
                for name, value in module.__dict__.items()
                if isinstance(value, dict | set)
            },
        )
        for module in model.modules()
    ]
    try:
        yield
    except BaseException:
        for module, kind, attributes, contents in saved:
            module.__class__ = kind
            module.__dict__.clear()
            module.__dict__.update(attributes)
            for name, content in contents.items():
                attributes[name].clear()
                attributes[name].update(content)
        raise
