"""Adapters, which PEFT adds beside the weights of a model, and which the model runs without."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from torch import nn

from phew.distributed.sharding import loaded


def without_wrapper(model: nn.Module) -> nn.Module:
    """Return the model that PEFT has wrapped, any other as it is."""
    kinds = (loaded("peft.peft_model", "PeftModel"), loaded("peft.mixed_model", "PeftMixedModel"))
    if isinstance(model, tuple(filter(None, kinds))):
        base: nn.Module = model.get_base_model()  # type: ignore[operator]
        return base
    return model


def names_of_adapters(model: nn.Module) -> list[str]:
    """Return the names of the parameters that are adapters of other weights."""
    added = {id(parameter) for layer in _adapted_layers(model) for parameter in _added_to(layer)}
    return [name for name, parameter in model.named_parameters() if id(parameter) in added]


def switch_off_adapters(model: nn.Module, but: Container[str]) -> None:
    """Let layers run as they did before they were adapted; call it while a model is preserved.

    Adapters that are merged into their weights stay merged.

    Args:
        model: The model.
        but: The names of adapters whose layers run as they are.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for layer in _adapted_layers(model):
        if not layer.merged and not any(names[id(added)] in but for added in _added_to(layer)):
            layer.enable_adapters(False)


def _adapted_layers(model: nn.Module) -> Iterator[Any]:
    """Yield PEFT's layers, each of which has the layer that it adapts as `base_layer`."""
    kind = loaded("peft.tuners.tuners_utils", "BaseTunerLayer")
    if kind is not None:
        yield from (module for module in model.modules() if isinstance(module, kind))


def _added_to(layer: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of a layer of PEFT that are not those of the layer that it adapts."""
    yield from layer.parameters(recurse=False)
    for name, child in layer.named_children():
        if name != "base_layer":
            yield from child.parameters()
