"""Make a sharded model, of whose parameters each rank holds a part, run as a whole one."""

from __future__ import annotations

from torch import nn

from phew.distributed.sharding import is_sharded, whole
from phew.running.stand_ins import stand_in_for


def stand_in_for_shards(model: nn.Module) -> None:
    """Replace sharded parameters by whole ones without data, and gather sharded buffers.

    Call it while a model is preserved, which undoes it.
    """
    stand_ins = stand_in_for(model, is_sharded)
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            if is_sharded(buffer):
                # The values of buffers may say which units are joined.
                setattr(module, name, whole(buffer))
    if stand_ins:
        for module in model.modules():
            _remove_hooks(module)


def _remove_hooks(module: nn.Module) -> None:
    """Remove the hooks that gather a module's parameters and distribute what it is called with."""
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for key, hook in list(hooks.items()):
            if str(getattr(hook, "__module__", "")).startswith("torch.distributed."):
                del hooks[key]
