"""A state is checked against all sparse layers of a model before any of it is loaded."""

from __future__ import annotations

from typing import Any

from torch import nn

from phew.sparse.sparse_layer import SparseLayer


def check_states(model: nn.Module) -> None:
    """Have a model refuse a state that does not fit its sparse layers, and stay unchanged then."""
    model.register_load_state_dict_pre_hook(_check)


def stop_checking_states(model: nn.Module) -> None:
    """Undo `check_states`."""
    hooks: Any = model._load_state_dict_pre_hooks
    for key in [key for key, wrapped in hooks.items() if getattr(wrapped, "hook", None) is _check]:
        del hooks[key]


def _check(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    obstacles = [
        obstacle
        for path, layer in module.named_modules()
        if isinstance(layer, SparseLayer)
        and (obstacle := layer.obstacle_to_loading(state_dict, f"{prefix}{path}.")) is not None
    ]
    if obstacles:
        told = "\n\t".join(obstacles)
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}:\n\t{told}")
