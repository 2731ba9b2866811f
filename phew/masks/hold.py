"""Hold the pruned weights of a model at zero, whatever trains, copies, loads or replaces them.

Three things hold a parameter:

- a tensor hook drops the gradient of its pruned entries, so gradient norms, clipping and
  momentum see only what is kept;
- a process-wide hook after every optimizer step zeroes them again, for weight decay, stale
  momentum and updates that mix entries;
- a `load_state_dict` post-hook of each module that owns it zeroes what was loaded. This hook
  is copied and pickled with the module, and then takes hold of the copied parameters.

Masks belong to names, not to objects. Before every optimizer step, and after a module is loaded,
what stands at a name in place of the held parameter is held in its stead. Where nothing there can
take the mask, a warning says so, and the mask is given up.

No forward hook, parametrization or buffer: `state_dict()` keeps its keys and `torch.compile`
its whole graph.
"""

from __future__ import annotations

import functools
import weakref
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm, _WeightNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from phew.distributed.sharding import reshard
from phew.masks.fit import obstacle_of
from phew.masks.parameter_hold import ParameterHold, release_parameter
from phew.support.warn import warn_caller


def hold(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> None:
    """Zero what `masks` prune in `model` and hold it at zero, in place of any earlier hold.

    If it raises, the model is as it was.

    Args:
        model: The model.
        masks: Masks that fit it (see `check_fit`).
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    holds: dict[nn.Parameter, ParameterHold] = {}
    for name, mask in masks.items():
        parameter = parameters[name]
        if parameter not in holds:
            holds[parameter] = ParameterHold.of_mask(mask, parameter)
    _register_step_hooks()
    try:
        for parameter, new in holds.items():
            new.hook(parameter)
    except BaseException:
        for parameter, new in holds.items():
            new.unhook(parameter)
        raise
    _let_go(model, kept=holds.values())
    for parameter, new in holds.items():
        new.take(parameter)
    held = {name: holds[parameter] for name, parameter in parameters.items() if parameter in holds}
    _ModuleHold.over(model, held, "", {}).install()


def release(model: nn.Module) -> None:
    """Let go of the masks applied to a model: pruned weights are zero, but may be trained.

    Args:
        model: The model; without applied masks nothing happens.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Linear(3, 2)
        >>> phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)}).apply(model)
        >>> phew.release(model)
    """
    reshard(model)
    _let_go(model)


def _let_go(model: nn.Module, kept: Collection[ParameterHold] = ()) -> None:
    for parameter in model.parameters():
        release_parameter(parameter, kept)
    for module in model.modules():
        for key, module_hold in _hooks_on(module):
            del module._load_state_dict_post_hooks[key]
            for parameter_hold in module_hold.held.values():
                parameter_hold.is_released = True


class _ModuleHold:
    """The masks of one module's parameters by name, and its `load_state_dict` post-hook.

    The holds of a model form a tree, as its modules do. For masks of `0.weight` and `1.fc.weight`:

        the model   held = {}           children = {"0": ..., "1": ...}
        its 0       held = {"weight"}   children = {}
        its 1       held = {}           children = {"fc": ...}
        its 1.fc    held = {"weight"}   children = {}

    Each is kept by its module and by the hold above it, and refers to the module only weakly. So a
    module that is replaced can be freed, and the hold above gives its masks to the new one. A
    ScriptModule is held as a whole, by dotted names, because it is copied without its hooks.

    Attributes:
        name: The module's name in the model.
        held: Name of a parameter in the module to its hold.
        children: Name of a submodule to its hold.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        held: dict[str, ParameterHold],
        children: dict[str, _ModuleHold],
    ) -> None:
        self.module = weakref.ref(module)
        self.name = name
        self.held = held
        self.children = children
        _module_holds.add(self)

    @classmethod
    def over(
        cls, module: nn.Module, held: Mapping[str, ParameterHold], name: str, lost: dict[str, str]
    ) -> _ModuleHold:
        """Make the hold of a module and those below it.

        Args:
            module: The module.
            held: Dotted name of a parameter in it to its hold.
            name: The module's name in the model.
            lost: Gets the reason for each name whose submodule is gone, by its name in the model.
        """
        if isinstance(module, torch.jit.ScriptModule):
            return cls(module, name, dict(held), {})
        own: dict[str, ParameterHold] = {}
        below: defaultdict[str, dict[str, ParameterHold]] = defaultdict(dict)
        for dotted, parameter_hold in held.items():
            first, dot, rest = dotted.partition(".")
            if dot:
                below[first][rest] = parameter_hold
            else:
                own[first] = parameter_hold
        children = {}
        for first, held_below in below.items():
            child, child_name = module._modules.get(first), _joined(name, first)
            if child is None:
                lost.update((_joined(child_name, rest), _GONE) for rest in held_below)
            else:
                children[first] = cls.over(child, held_below, child_name, lost)
        return cls(module, name, own, children)

    def install(self) -> None:
        """Hook this and all below into their modules."""
        module = self.module()
        if module is not None:
            hooks = module._load_state_dict_post_hooks
            for key, _ in _hooks_on(module):
                del hooks[key]
            # ScriptModules forbid register_load_state_dict_post_hook, which does no more.
            hooks[RemovableHandle(hooks).id] = self
        for child in self.children.values():
            child.install()

    @torch.no_grad()
    def __call__(self, module: nn.Module, incompatible_keys: object) -> None:
        _follow([self])
        for name, parameter_hold in self.held.items():
            parameter = _parameter_of(module, name)
            if parameter is not None and parameter_hold.has(parameter):
                parameter_hold.zero(parameter)

    def has_changed(self) -> bool:
        """Return whether a name has another parameter or submodule than the one that is held."""
        module = self.module()
        if module is None:
            return False
        for name, parameter_hold in self.held.items():
            if not parameter_hold.has(_parameter_of(module, name)):
                return True
        for name, child in self.children.items():
            if module._modules.get(name) is not child.module():
                return True
        return False

    def follow(self, lost: dict[str, str]) -> None:
        """Hold what stands at the names now.

        Args:
            lost: Gets the reason for each name that cannot be held any more.
        """
        module = self.module()
        if module is not None:
            for name in list(self.held):
                self._follow_parameter(module, name, lost)
            replaced = [
                name
                for name, child in self.children.items()
                if module._modules.get(name) is not child.module()
            ]
            if replaced:
                self._follow_modules(module, replaced, lost)

    def _follow_parameter(self, module: nn.Module, name: str, lost: dict[str, str]) -> None:
        parameter, held = _parameter_of(module, name), self.held[name]
        if parameter is not None and (not isinstance(parameter, nn.Parameter) or parameter.is_meta):
            return  # for the time being: of a functional call, or without data
        other = None if parameter is None else ParameterHold.on(parameter)
        if other is not None:  # the same, or that of a tied name
            self.held[name] = other
            return
        reason = None if held.is_released else _why_lost(module, name, parameter, held)
        if held.is_released or reason is not None:
            del self.held[name]
        else:
            self.held[name] = held.for_other(parameter)
            self.held[name].hook(parameter)
            self.held[name].take(parameter)
            self.held[name].zero_grad(parameter)
        if reason is not None:
            lost[_joined(self.name, name)] = reason

    def _follow_modules(self, module: nn.Module, replaced: list[str], lost: dict[str, str]) -> None:
        """Give the masks of submodules to those in their place, or follow them into a wrapper."""
        popped = {name: self.children.pop(name) for name in replaced}
        elsewhere = {
            below.module() for child in self.children.values() for _, below in child._all()
        }
        path_of = {m: path for path, m in module.named_modules() if m not in elsewhere}
        moved = {}
        for name, child in popped.items():
            for prefix, below in child._all(name):
                path = path_of.get(below.module(), prefix)
                moved.update((f"{path}.{local}", held) for local, held in below.held.items())
        for first in {path.partition(".")[0] for path in moved} & self.children.keys():
            for prefix, below in self.children.pop(first)._all(first):
                moved.update((f"{prefix}.{local}", held) for local, held in below.held.items())
        new = _ModuleHold.over(module, moved, self.name, lost)
        for name, child in new.children.items():
            child.install()
            for _, below in child._all(name):
                below.follow(lost)
        self.children.update(new.children)

    def _all(self, path: str = "") -> Iterator[tuple[str, _ModuleHold]]:
        """Yield this hold and all below it, with their paths, given its own."""
        yield path, self
        for name, child in self.children.items():
            yield from child._all(f"{path}.{name}")

    def __getstate__(self) -> dict[str, Any]:
        _follow([self])
        module = self.module()
        parameters = {}
        if not isinstance(module, torch.jit.ScriptModule):
            found = {name: _parameter_of(module, name) for name in self.held}
            parameters = {name: p for name, p in found.items() if self.held[name].has(p)}
        return self.__dict__ | {"module": module, "parameters": parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take hold of the copies of parameters, maybe before their module has its attributes."""
        module, parameters = state["module"], state.pop("parameters")
        self.__dict__.update(state | {"module": weakref.ref(module)})
        _module_holds.add(self)
        _register_step_hooks()
        if isinstance(module, torch.jit.ScriptModule):
            self.install()
            parameters = {name: _parameter_of(module, name) for name in self.held}
        for name, parameter in parameters.items():
            if parameter is not None and ParameterHold.on(parameter) is None:
                self.held[name].hook(parameter)
                self.held[name].take(parameter)


_module_holds: weakref.WeakSet[_ModuleHold] = weakref.WeakSet()


def _hooks_on(module: nn.Module) -> list[tuple[int, _ModuleHold]]:
    hooks = module._load_state_dict_post_hooks
    return [(key, hook) for key, hook in hooks.items() if isinstance(hook, _ModuleHold)]


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _parameter_of(module: nn.Module, name: str) -> Any:
    """Return what stands at the name of a parameter in a module, or None."""
    parameters = module._parameters
    if isinstance(parameters, dict):
        parameter = parameters.get(name)
        return _factor_of(module, name) if parameter is None else parameter
    # The dictionaries of ScriptModules have no get.
    *path, local = name.split(".")
    for part in path:
        module = module._modules[part]  # type: ignore[assignment]
    return module._parameters[local]


def _factor_of(module: nn.Module, name: str) -> nn.Parameter | None:
    """Return the parameter whose zeros are those of a weight that is computed from it, or None.

    These are the directions of weight normalisation, and what spectral normalisation and
    `torch.nn.utils.prune` multiply.
    """
    for suffix in ("_v", "_orig"):
        if (factor := module._parameters.get(name + suffix)) is not None:
            return factor
    if not is_parametrized(module, name):
        return None
    steps = module.parametrizations[name]  # type: ignore[index]
    if not all(isinstance(step, (_SpectralNorm, _WeightNorm)) for step in steps):
        return None
    return steps._parameters.get("original1", steps._parameters.get("original"))


def _why_lost(
    module: nn.Module, name: str, parameter: nn.Parameter | None, held: ParameterHold
) -> str | None:
    """Say why a parameter, or the lack of one, cannot be held by the mask of its name."""
    if parameter is None and is_parametrized(module, name):
        steps = module.parametrizations[name]  # type: ignore[index]
        return f"it is now computed by {', '.join(type(step).__name__ for step in steps)}"
    if parameter is None:
        return _GONE
    if parameter.shape != held.pruned.shape:
        return f"its shape is {tuple(parameter.shape)}, that of its mask {tuple(held.pruned.shape)}"
    if not held.fits(parameter):
        return "it is sharded in another way than its mask"
    obstacle = obstacle_of(parameter)
    return None if obstacle is None else f"it must {obstacle}"


_GONE = "it is gone"


def _follow(module_holds: Iterable[_ModuleHold]) -> None:
    """Hold what stands at the names now, and warn of what cannot be held."""
    changed = [module_hold for module_hold in module_holds if module_hold.has_changed()]
    if not changed:
        return
    # Names may have what FSDP2 has gathered, which is not what is trained.
    for module in [module_hold.module() for module_hold in module_holds if not module_hold.name]:
        if module is not None:
            reshard(module)
    lost: dict[str, str] = {}
    for module_hold in changed:
        module_hold.follow(lost)
    if lost:
        weights = "".join(f"\n  {name!r}: {reason}." for name, reason in lost.items())
        warn_caller(
            f"Masks do not hold these weights at zero any more:{weights}\n"
            "Apply masks after the model has its final form.",
            UserWarning,
        )


@functools.cache
def _register_step_hooks() -> None:
    register_optimizer_step_pre_hook(_follow_before_step)
    register_optimizer_step_post_hook(_zero_after_step)


def _follow_before_step(optimizer: Optimizer, args: object, kwargs: object) -> None:
    _follow(list(_module_holds))


@torch.no_grad()
def _zero_after_step(optimizer: Optimizer, args: object, kwargs: object) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            held = ParameterHold.on(parameter)
            if held is not None:
                held.zero(parameter)
