"""Hold the masks of a module's parameters by their names, whatever stands there."""

from __future__ import annotations

import functools
import weakref
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from phew.distributed.sharding import reshard
from phew.masks.named_parameters import GONE, parameter_of, why_lost
from phew.masks.parameter_hold import ParameterHold
from phew.support.warn import PhewWarning, warn_caller


class NotHeldWarning(PhewWarning):
    """Warns of weights that masks do not hold at zero any more."""


class ModuleHold:
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
        children: dict[str, ModuleHold],
    ) -> None:
        self.module = weakref.ref(module)
        self.name = name
        self.held = held
        self.children = children
        _module_holds[id(self)] = self

    @classmethod
    def over(
        cls, module: nn.Module, name: str, held: Mapping[str, ParameterHold], lost: dict[str, str]
    ) -> ModuleHold:
        """Make the hold of a module and those below it.

        Args:
            module: The module.
            name: Its name in the model.
            held: Dotted name of a parameter in it to its hold.
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
                lost.update((_joined(child_name, rest), GONE) for rest in held_below)
            else:
                children[first] = cls.over(child, child_name, held_below, lost)
        return cls(module, name, own, children)

    def install(self) -> None:
        """Hook this and all below into their modules."""
        module = self.module()
        if module is not None:
            hooks = module._load_state_dict_post_hooks
            for key, _ in module_holds_on(module):
                del hooks[key]
            # ScriptModules forbid register_load_state_dict_post_hook, which does no more.
            hooks[RemovableHandle(hooks).id] = self
        for child in self.children.values():
            child.install()

    @torch.no_grad()
    def __call__(self, module: nn.Module, incompatible_keys: object) -> None:
        """Zero what the module has loaded."""
        _follow([self])
        for name, parameter_hold in self.held.items():
            parameter = parameter_of(module, name)
            if parameter is not None and parameter_hold.has(parameter):
                parameter_hold.zero(parameter)

    def has_changed(self) -> bool:
        """Return whether a name has another parameter or submodule than the one that is held."""
        module = self.module()
        if module is None or not _is_whole(module):
            return False
        for name, parameter_hold in self.held.items():
            if not parameter_hold.has(parameter_of(module, name)):
                return True
        return any(child.is_replaced(module, name) for name, child in self.children.items())

    def is_replaced(self, parent: nn.Module, name: str) -> bool:
        """Return whether this hold's module is no longer at a name in its parent."""
        module = parent._modules.get(name)
        return module is None or module is not self.module()

    def follow(self, lost: dict[str, str], only: Container[int] | None = None) -> None:
        """Hold what stands at the names now.

        Args:
            lost: Gets the reason for each name that cannot be held any more.
            only: The ids of the parameters that may be zeroed now; None for all.
        """
        module = self.module()
        if module is not None:
            for name in list(self.held):
                self._follow_parameter(module, name, lost, only)
            for child in self._follow_modules(module, lost):
                for _, below in child.walk(""):
                    below.follow(lost, only)

    def _follow_parameter(
        self, module: nn.Module, name: str, lost: dict[str, str], only: Container[int] | None
    ) -> None:
        parameter, held = parameter_of(module, name), self.held[name]
        if parameter is not None:
            if only is not None and id(parameter) not in only:
                return  # for the time being: a step of its own follows
            if not isinstance(parameter, nn.Parameter) or parameter.is_meta:
                return  # for the time being: of a functional call, or without data
            other = ParameterHold.on(parameter)
            if other is not None:  # the same, or that of a tied name
                self.held[name] = other
                return
        reason = why_lost(module, name, parameter, held)
        if parameter is not None and reason is None and not held.is_released:
            self.held[name] = held.for_other(parameter)
            self.held[name].hook(parameter)
            self.held[name].take(parameter)
            return
        # Another thread may be reading the dictionary, so it is replaced.
        self.held = {other: self.held[other] for other in self.held if other != name}
        if parameter is not None:
            held.unhook(parameter)
        if reason is not None and not held.is_released:
            lost[_joined(self.name, name)] = reason

    def _follow_modules(self, module: nn.Module, lost: dict[str, str]) -> Iterable[ModuleHold]:
        """Give the masks of submodules to those in their place, or follow them into a wrapper.

        Returns:
            The holds of the submodules that are new, which do not hold their parameters yet.
        """
        replaced = {
            name: child for name, child in self.children.items() if child.is_replaced(module, name)
        }
        if not replaced:
            return ()
        unchanged = {name: child for name, child in self.children.items() if name not in replaced}
        tracked = {below.module() for name in unchanged for _, below in unchanged[name].walk(name)}
        path_of = {other: path for path, other in module.named_modules() if other not in tracked}
        moved = {
            f"{path_of.get(below.module(), path)}.{local}": held
            for name, child in replaced.items()
            for path, below in child.walk(name)
            for local, held in below.held.items()
        }
        # Some may have moved into a submodule that has a hold already.
        for name in {dotted.partition(".")[0] for dotted in moved} & unchanged.keys():
            for path, below in unchanged[name].walk(name):
                moved.update((f"{path}.{local}", held) for local, held in below.held.items())
        new = ModuleHold.over(module, self.name, moved, lost).children
        for child in new.values():
            child.install()
        self.children = unchanged | new
        return new.values()

    def walk(self, path: str) -> Iterator[tuple[str, ModuleHold]]:
        """Yield this hold and all below it, with their paths, given its own."""
        yield path, self
        for name, child in self.children.items():
            yield from child.walk(f"{path}.{name}")

    def __getstate__(self) -> dict[str, Any]:
        module = self.module()
        parameters = {}
        if module is not None:
            lost: dict[str, str] = {}
            self._follow_modules(module, lost)
            _warn_of(lost)
            if not isinstance(module, torch.jit.ScriptModule):
                parameters = {name: parameter_of(module, name) for name in self.held}
        return self.__dict__ | {"module": module, "parameters": parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take hold of the copies of parameters, maybe before their module has its attributes."""
        module, parameters = state["module"], state.pop("parameters")
        # A hold that has ended may have no module; a temporary one makes a dead reference.
        module_ref = weakref.ref(nn.Module() if module is None else module)
        self.__dict__.update(state | {"module": module_ref})
        _module_holds[id(self)] = self
        register_step_hooks()
        if isinstance(module, torch.jit.ScriptModule):
            self.install()
            parameters = {name: parameter_of(module, name) for name in self.held}
        for name, parameter in parameters.items():
            held = self.held[name]
            if parameter is None or ParameterHold.on(parameter) is not None:
                continue
            if why_lost(module, name, parameter, held) is None:
                held.hook(parameter)
                held.take(parameter)


_module_holds: weakref.WeakValueDictionary[int, ModuleHold] = weakref.WeakValueDictionary()
"""All holds of modules, by their id."""


def module_holds_on(module: nn.Module) -> list[tuple[int, ModuleHold]]:
    """Return the holds among a module's hooks, and their keys."""
    hooks = module._load_state_dict_post_hooks
    return [(key, hook) for key, hook in hooks.items() if isinstance(hook, ModuleHold)]


def _is_whole(module: nn.Module) -> bool:
    """Return whether a module has its attributes, or another thread is at copying it."""
    return "_modules" in module.__dict__


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _follow(module_holds: Iterable[ModuleHold], only: Container[int] | None = None) -> None:
    """Hold what stands at the names now, and warn of what cannot be held."""
    lost: dict[str, str] = {}
    for module_hold in module_holds:
        module_hold.follow(lost, only)
    _warn_of(lost)


def _warn_of(lost: Mapping[str, str]) -> None:
    if lost:
        weights = "".join(f"\n  {name!r}: {reason}." for name, reason in lost.items())
        warn_caller(
            f"Masks do not hold these weights at zero any more:{weights}\n"
            "Prune, or apply masks, once the model has its final form.",
            NotHeldWarning,
        )


@functools.cache
def register_step_hooks() -> None:
    """Follow and zero what is held at each step of any optimizer from now on."""
    # A compiled step calls them as they are.
    register_optimizer_step_pre_hook(torch.compiler.disable(_follow_before_step))
    register_optimizer_step_post_hook(torch.compiler.disable(_zero_after_step))


def _follow_before_step(optimizer: Optimizer, args: object, kwargs: object) -> None:
    # Other threads may add holds meanwhile, so the list is made in one go.
    refs = _module_holds.valuerefs()
    module_holds = [module_hold for ref in refs if (module_hold := ref()) is not None]
    changed = [module_hold for module_hold in module_holds if module_hold.has_changed()]
    if changed:
        ids = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        trained = _with_any_of(ids, module_holds)
        # A step inside a backward pass, whose gradients of other weights are still to come.
        is_in_backward = torch._C._current_graph_task_id() >= 0
        _follow(
            [module_hold for module_hold in changed if module_hold in trained],
            only=ids if is_in_backward else None,
        )


def _with_any_of(ids: set[int], module_holds: Iterable[ModuleHold]) -> set[ModuleHold]:
    """Return the holds of models that have a parameter of some ids, those that are trained.

    Another model may be between its forward and its backward pass, where nothing may be zeroed.
    """
    trained: set[ModuleHold] = set()
    for module_hold in module_holds:
        module = module_hold.module()
        if module is None or not _is_whole(module) or module_hold in trained:
            continue
        if not module_hold.name:
            # FSDP2 may have gathered parameters, which are not the ones that are trained.
            reshard(module)
        if _has_any(module, ids):
            trained.update(below for _, below in module_hold.walk(""))
    return trained


def _has_any(module: nn.Module, ids: set[int]) -> bool:
    """Return whether some of a module's parameters have one of some ids."""
    try:
        return any(id(parameter) in ids for parameter in module.parameters())
    except RuntimeError:
        return False  # another thread is changing the module


@torch.no_grad()
def _zero_after_step(optimizer: Optimizer, args: object, kwargs: object) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            held = ParameterHold.on(parameter)
            if held is not None:
                held.zero(parameter)
