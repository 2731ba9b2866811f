"""From a PyTorch model to a walk graph: run the model once and follow the units through it."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from phew.capture.operations import follow
from phew.capture.preserve import TensorSaver, preserved
from phew.capture.tracer import Tracer, tensors_held_by, tensors_in
from phew.graph import WalkGraph, WeightedLink

WEIGHT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def capture(model: nn.Module, example_inputs: Any, *, exclude: Sequence[str] = ()) -> WalkGraph:
    """Turn a model into the graph that walks run on.

    The model runs once, in evaluation mode, on tensors without data where it does not read values.
    An operation that capture does not know is replaced by a complete wiring and listed in
    `WalkGraph.approximations`. The model is left as it was: parameters, buffers, gradients, flags,
    hooks and random states.

    Args:
        model: The model. Its parameters are referred to, not copied.
        example_inputs: What the model accepts: a tensor, a tuple of positional or a dict of keyword
            arguments. Values do not matter, shapes do.
        exclude: Names of parameters that are not to be pruned, with `*` and `?` as wildcards.

    Returns:
        The walk graph. Prunable are the parameters of two or more dimensions that are weights of a
        link.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the model does not accept the example inputs, nothing in it can be pruned, a
            pattern matches no parameter, or a weight's dtype or layout is not supported.

    Example:
        >>> import torch, phew
        >>> layers = torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
        >>> model = torch.nn.Sequential(*layers)
        >>> print(phew.capture(model, torch.zeros(1, 8)))
        WalkGraph: 3 spaces, 2 weighted and 0 wiring links, 40 prunable weights
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    args, kwargs = _as_call(example_inputs)
    excluded = _matching(model, exclude)
    _check_weights(model, excluded)
    tracer, exits = _trace(model, args, kwargs)
    return _graph(model, tracer, exits, excluded)


def _as_call(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, tuple):
        return example_inputs, {}
    if isinstance(example_inputs, dict):
        return (), example_inputs
    raise TypeError(
        "example_inputs must be a tensor, a tuple of positional arguments or a dict of keyword "
        f"arguments, got {type(example_inputs).__name__}."
    )


def _matching(model: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Return the names of the parameters that match a pattern."""
    if isinstance(patterns, str):
        raise TypeError(f"exclude must be a sequence of patterns, got the string {patterns!r}.")
    names = [name for name, _ in model.named_parameters()]
    excluded: set[str] = set()
    for pattern in patterns:
        matches = fnmatch.filter(names, pattern)
        if not matches:
            raise ValueError(
                f"exclude must match names of parameters, got {pattern!r}, which matches none. "
                f"There are {', '.join(map(repr, names[:3]))}, ... (see named_parameters())."
            )
        excluded.update(matches)
    return excluded


def _check_weights(model: nn.Module, excluded: set[str]) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or name in excluded:
            continue
        if parameter.layout != torch.strided or parameter.is_quantized:
            kind = "quantised" if parameter.is_quantized else "sparse"
            raise ValueError(
                f"parameter {name!r} must be dense, got a {kind} tensor. {_remedy(name)}"
            )
        if parameter.dtype not in WEIGHT_DTYPES:
            raise ValueError(
                f"parameter {name!r} must be of dtype float32, float64, float16 or bfloat16, "
                f"got {parameter.dtype}. {_remedy(name)}"
            )


def _remedy(name: str) -> str:
    return f"Leave it out with exclude=[{name!r}]."


def _trace(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tracer, list[int]]:
    try:
        return _run(model, args, kwargs, shapes_only=True)
    except Exception:
        # The model reads values, or an operation does not work on shapes: run it on real tensors.
        try:
            return _run(model, args, kwargs, shapes_only=False)
        except Exception as error:
            raise ValueError(
                f"example_inputs must be accepted by the model, got {type(error).__name__}: {error}"
            ) from error


def _run(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], *, shapes_only: bool
) -> tuple[Tracer, list[int]]:
    saver = TensorSaver([*tensors_held_by(model), *tensors_in((args, kwargs))])
    with preserved(model):
        for module in model.modules():
            module.training = False
        tracer = Tracer(model, follow, saver, shapes_only=shapes_only)
        args, kwargs = tracer.enter((args, kwargs))
        try:
            with torch.no_grad(), tracer.modules, tracer:
                outputs = model(*args, **kwargs)
        finally:
            saver.restore()
        return tracer, tracer.exits(outputs)


def _graph(model: nn.Module, tracer: Tracer, exits: list[int], excluded: set[str]) -> WalkGraph:
    builder = tracer.builder
    linked = {link.parameter for link in builder.links if isinstance(link, WeightedLink)}
    parameters = {name: parameter for name, parameter in model.named_parameters() if name in linked}
    prunable = tuple(
        name
        for name, parameter in parameters.items()
        if name not in excluded and parameter.dim() > 1
    )
    if not any(parameters[name].numel() for name in prunable):
        raise ValueError(
            "model must have prunable weights (parameters of two or more dimensions that are not "
            "excluded and that example_inputs lead through), got none."
        )
    return WalkGraph(
        spaces=tuple(builder.spaces),
        links=tuple(builder.links),
        entries=builder.entries,
        exits=tuple(exits),
        parameters=parameters,
        prunable=prunable,
        unit_parameters=tracer.unit_parameters,
        approximations=tuple(dict.fromkeys(tracer.approximations)),
    )
