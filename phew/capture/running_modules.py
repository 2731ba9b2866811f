"""Which modules of a model are running, by which operations are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList


class RunningModules:
    """Follows the calls of a model's modules by hooks.

    Args:
        model: The model. Its modules get hooks here, which `preserved` removes.
    """

    def __init__(self, model: nn.Module) -> None:
        # The names of the modules that are running, the innermost last.
        self._names: list[str] = []
        self._parametrizations: set[str] = set()
        for name, module in model.named_modules():
            if isinstance(module, ParametrizationList):
                self._parametrizations.add(name)
            # Script modules do not take hooks.
            if not isinstance(module, torch.jit.ScriptModule):
                module.register_forward_pre_hook(self._begin(name))
                # The model may catch what a module raises: the hook is called then too.
                module.register_forward_hook(self._end, always_call=True)

    def _begin(self, name: str) -> Callable[..., None]:
        return lambda *_: self._names.append(name)

    def _end(self, *_: Any) -> None:
        # A hook before this module's may have raised.
        if self._names:
            self._names.pop()

    @property
    def innermost(self) -> str:
        """Name of the innermost module that is running, "" for the model itself."""
        return self._names[-1] if self._names else ""

    @property
    def are_parametrizing(self) -> bool:
        """Whether a module is running that computes weights from parameters."""
        return not self._parametrizations.isdisjoint(self._names)
