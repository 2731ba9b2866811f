"""Finds the kept weights of a mask that lie on a path of kept weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from positive_shadow import Shadow, WeightedOperation, double
from recorded_calls import record
from torch import Tensor, nn

import phew


def weigh(operation: WeightedOperation) -> Tensor:
    result = operation.compute()
    return result / result.detach().abs().max().clamp(min=torch.finfo(torch.float64).tiny)


def masked_gradients(
    model: nn.Module,
    masks: phew.Masks,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Return the gradient of the summed outputs in the positive shadow, no bias but with masks.

    A kept weight has a positive value, a pruned one none. So all that reaches a unit comes from an
    entry over kept weights, and is the gradient of a weight that leads from there to an exit.
    """
    recorder, outputs = record(model.eval(), args, kwargs or {})
    generator = torch.Generator().manual_seed(0)
    values = {}
    for name, parameter in model.named_parameters():
        positive = torch.rand(parameter.shape, generator=generator) + 0.5
        values[name] = (positive * masks.get(name, 1)).to(double(parameter)).requires_grad_()
    shadow = Shadow(model, (args, kwargs), recorder, values, weigh)
    parts = [torch.view_as_real(o) if o.is_complex() else o for o in shadow.active(outputs)]
    total = torch.stack([(part * shadow.positive(part.shape)).sum() for part in parts]).sum()
    gradients = torch.autograd.grad(total, [values[name] for name in masks])
    return dict(zip(masks, gradients, strict=True))
