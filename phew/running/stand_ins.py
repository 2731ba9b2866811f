"""Parameters without data in the place of those that a run on shapes cannot use as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def stand_in_for(
    model: nn.Module, is_replaced: Callable[[torch.Tensor], bool]
) -> list[nn.Parameter]:
    """Replace some parameters by plain ones without data, tied ones by one, and return these.

    Call it while a model is preserved, which undoes it.
    """
    stand_ins: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if is_replaced(parameter):
                empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
                stand_in = nn.Parameter(empty, requires_grad=parameter.requires_grad)
                setattr(module, name, stand_ins.setdefault(id(parameter), stand_in))
    return list(stand_ins.values())
