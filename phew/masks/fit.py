"""Refuse masks that cannot be held on a model, before anything of it is changed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from phew.distributed.sharding import equal, own_part

_SAME_MODEL = "Apply masks to the model that they were made from."


def check_fit(masks: Mapping[str, torch.Tensor], parameters: Mapping[str, nn.Parameter]) -> None:
    """Refuse masks that cannot be held on a model's parameters, given by all of their names.

    Raises:
        ValueError: If a mask has no parameter, or one of another shape, or one that cannot be held.
    """
    first_name: dict[nn.Parameter, str] = {}
    for name, mask in masks.items():
        check_shape(name, mask.shape, parameters)
        parameter = parameters[name]
        obstacle = obstacle_of(parameter)
        if obstacle is not None:
            raise ValueError(f"{name!r} must {obstacle}")
        first = first_name.setdefault(parameter, name)
        if first != name and not equal(mask, masks[first]):
            raise ValueError(
                f"masks must agree on tied parameters, got different ones for {first!r} and "
                f"{name!r}. Leave one out."
            )


def check_shape(name: str, shape: torch.Size, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError unless there is a weight of a name that has the shape of its mask."""
    weight = weights.get(name)
    if weight is None:
        raise ValueError(
            f"model must have all masked parameters, got none named {name!r}. {_SAME_MODEL}"
        )
    if weight.shape != shape:
        raise ValueError(
            f"{name!r} must have the shape of its mask, {tuple(shape)}, "
            f"got {tuple(weight.shape)}. {_SAME_MODEL}"
        )


def obstacle_of(parameter: nn.Parameter) -> str | None:
    """Say what keeps zeros from being written to each weight, or training from following.

    Returns:
        What a parameter must be, what it is, and the remedy; None if it can be held.
    """
    if parameter.is_meta:
        return (
            "have data, got a parameter on the meta device. "
            "Call model.to_empty(device=...) and load its weights."
        )
    is_number = parameter.is_floating_point() or parameter.is_complex()
    if parameter.layout is not torch.strided or not is_number:
        return (
            f"be dense and floating-point, got {parameter.layout}, {parameter.dtype}. "
            "Apply the masks before the model is converted."
        )
    if parameter.is_inference():
        return (
            "be a normal tensor, got one made in inference mode. "
            "Build the model outside of torch.inference_mode()."
        )
    if any(
        size > 1 and stride == 0
        for size, stride in zip(parameter.shape, parameter.stride(), strict=True)
    ):
        return (
            "have memory for each of its weights, got an expanded tensor. "
            "Make it a parameter of its own with .clone()."
        )
    return _obstacle_to_zeroing(parameter)


def _obstacle_to_zeroing(parameter: nn.Parameter) -> str | None:
    """Try to zero none of the weights, which subclasses of tensors may not be able to."""
    none = torch.zeros((), dtype=torch.bool, device=parameter.device)
    try:
        # Unlike the parameter itself, .data does not count the call as a change.
        own_part(parameter).data.masked_fill_(none, 0)
    except Exception as error:
        return (
            f"let its weights be zeroed in place, got a {type(parameter).__name__} that raises "
            f"{type(error).__name__}. Apply the masks before the model is converted."
        )
    return None
