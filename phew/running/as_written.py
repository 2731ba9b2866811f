"""Run a model operation by operation, whatever modes the caller is in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from phew.running.tensors import tensors_in


@contextmanager
def as_written(*, gradients: bool, casts: bool) -> Iterator[None]:
    """Run what is called in this thread operation by operation.

    All but one of the switches are this thread's. While a model is run as it is written, models
    that `torch.compile` has compiled run so in all threads.

    Args:
        gradients: Whether operations are recorded for gradients.
        casts: Whether the caller's autocast holds.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        # While nobody has imported the compiler, nothing is compiled.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_Unfused())
        kinds = [kind for kind in _DEVICES if torch.is_autocast_enabled(kind)]
        for kind in () if casts else kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        # Cached weights would not be followed, and those of this run would stay in the cache of the
        # caller's region. A model may turn the cache on by itself, so it is cleared too.
        stack.callback(torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled())
        torch.set_autocast_cache_enabled(False)
        if kinds:
            stack.callback(torch.clear_autocast_cache)
            torch.clear_autocast_cache()
        yield


_DEVICES = ("cpu", "cuda", "xpu", "hpu", "mps")


class _Unfused(TorchFunctionMode):
    """Has layers compute their operations one by one, in this thread.

    Attention takes its fused path only where no mode such as this one sees functions of torch. An
    LSTM is fused on the CPU unless it computes in float64. Of a subclass of tensors results would
    be tensors that torch makes anew, behind the back of who follows the run.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        kwargs = kwargs or {}
        if types and all(map(_is_plain, types)):
            with torch._C.DisableTorchFunctionSubclass():
                return self._call(func, args, kwargs)
        return self._call(func, args, kwargs)

    @staticmethod
    def _call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a function, an LSTM in float64."""
        if getattr(func, "__name__", "") != "lstm":
            return func(*args, **kwargs)
        floating = [tensor for tensor in tensors_in(args) if tensor.is_floating_point()]
        if any(tensor.device.type != "cpu" for tensor in floating):
            return func(*args, **kwargs)
        dtype = floating[0].dtype

        def cast(tree: Any, old: torch.dtype, new: torch.dtype) -> Any:
            return tree_map_only(
                torch.Tensor, lambda tensor: tensor.to(new) if tensor.dtype == old else tensor, tree
            )

        return cast(func(*cast(args, dtype, torch.float64), **kwargs), torch.float64, dtype)


def _is_plain(kind: type) -> bool:
    """Return whether a subclass of tensors leaves functions of torch as they are."""
    functions = (getattr(type_, "__torch_function__", None) for type_ in (kind, torch.Tensor))
    own, default = (getattr(function, "__func__", function) for function in functions)
    return own is default
