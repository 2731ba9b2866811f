"""Parameters that a conversion replaced: an optimizer that still trains them is told so."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

_ATTRIBUTE = "_phew_replaced_by"


def mark_replaced(parameters: Iterable[nn.Parameter], function: str) -> None:
    """Let the next step of optimizers of some parameters raise.

    Args:
        parameters: The parameters, which no module has any more.
        function: The name of the function that replaced them.
    """
    for parameter in parameters:
        setattr(parameter, _ATTRIBUTE, function)
    _register_step_hook()


@functools.cache
def _register_step_hook() -> None:
    # A compiled step calls it as it is.
    register_optimizer_step_pre_hook(torch.compiler.disable(_refuse_replaced))


def _refuse_replaced(optimizer: Optimizer, args: object, kwargs: object) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            function = parameter.__dict__.get(_ATTRIBUTE)
            if function is not None:
                raise RuntimeError(
                    f"optimizer must train the parameters of the model, got some that {function} "
                    f"has replaced. Make the optimizer after phew.{function}."
                )
