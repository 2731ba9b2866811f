"""Random numbers that a model draws while it is captured, from generators of the run's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch._ops import OpOverload

_aten = torch.ops.aten


def _rand_like(tensor: torch.Tensor, *, generator: torch.Generator, **options: Any) -> torch.Tensor:
    return torch.empty_like(tensor, **options).uniform_(generator=generator)


def _randn_like(
    tensor: torch.Tensor, *, generator: torch.Generator, **options: Any
) -> torch.Tensor:
    return torch.empty_like(tensor, **options).normal_(generator=generator)


def _randint_like(
    tensor: torch.Tensor, *bounds: int, generator: torch.Generator, **options: Any
) -> torch.Tensor:
    low, high = (0, *bounds)[-2:]
    return torch.empty_like(tensor, **options).random_(low, high, generator=generator)


def _native_dropout(
    tensor: torch.Tensor, p: float, train: bool | None, *, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    share = 1 - p if train is not False else 1.0
    kept = torch.empty_like(tensor, dtype=torch.bool).bernoulli_(share, generator=generator)
    return tensor * kept * (1 / share if share else 0), kept


_WITH_GENERATOR: dict[OpOverload, Callable[..., Any]] = {
    _aten.rand.default: _aten.rand.generator,
    _aten.randn.default: _aten.randn.generator,
    _aten.randint.default: _aten.randint.generator,
    _aten.randint.low: _aten.randint.low_generator,
    _aten.randperm.default: _aten.randperm.generator,
    _aten.rand_like.default: _rand_like,
    _aten.randn_like.default: _randn_like,
    _aten.randint_like.default: _randint_like,
    _aten.randint_like.low_dtype: _randint_like,
    _aten.native_dropout.default: _native_dropout,
}
"""The same operations with a generator, where they take none."""


@functools.cache
def draws(func: OpOverload) -> bool:
    """Return whether an operation draws random numbers."""
    return torch.Tag.nondeterministic_seeded in func.tags


class RandomNumbers:
    """Runs operations that draw random numbers, without torch's own generators.

    Those belong to all threads. A generator of the run's own starts in the state that torch's is
    in, so the numbers are the ones that the model would have drawn.
    """

    def __init__(self) -> None:
        self._generators: dict[torch.device, torch.Generator] = {}

    def run(self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation, random or not."""
        if not draws(func) or kwargs.get("generator"):
            return func(*args, **kwargs)
        takes = any(argument.name == "generator" for argument in func._schema.arguments)
        run = func if takes else _WITH_GENERATOR.get(func)
        device = next((arg.device for arg in args if isinstance(arg, torch.Tensor)), None)
        device = torch.device(kwargs.get("device") or device or torch.get_default_device())
        # The other operations draw nothing in evaluation mode: the dropout of attention is off.
        if run is None or device.type not in ("cpu", "cuda"):
            return func(*args, **kwargs)
        return run(*args, **kwargs | {"generator": self._generator(device)})

    def _generator(self, device: torch.device) -> torch.Generator:
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._generators:
            generator = torch.Generator(device)
            is_cpu = device.type == "cpu"
            generator.set_state(
                torch.get_rng_state() if is_cpu else torch.cuda.get_rng_state(device)
            )
            self._generators[device] = generator
        return self._generators[device]
