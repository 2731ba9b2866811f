"""From a PyTorch model to a walk graph: run the model once and follow the units through it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from phew.capture.checks import as_call, check_weights, matching
from phew.capture.operations import follow
from phew.capture.preserve import preserved
from phew.capture.tracer import Tracer, tensors_in
from phew.graph import WalkGraph, WeightedLink


def capture(model: nn.Module, example_inputs: Any, *, exclude: Sequence[str] = ()) -> WalkGraph:
    """Turn a model into the graph that walks run on.

    The model runs once, in evaluation mode, on tensors without data where it does not read values.
    An operation that capture does not know is replaced by a complete wiring and listed in
    `WalkGraph.approximations`. The model is left as it was: parameters, buffers, gradients, flags,
    hooks, attributes and what Python containers in them hold (but not the insides of other
    objects); so are all random states.

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
    args, kwargs = as_call(example_inputs)
    excluded = matching(model, exclude)
    check_weights(model, excluded)
    tracer, exits = _trace(model, args, kwargs)
    return _graph(model, tracer, exits, excluded)


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
    with preserved(model, tensors_in((args, kwargs))) as saver:
        for module in model.modules():
            module.training = False
        tracer = Tracer(model, follow, saver, shapes_only=shapes_only)
        tracer.watch(model)
        args, kwargs = tracer.enter((args, kwargs))
        with _as_written(), tracer:
            outputs = model(*args, **kwargs)
        return tracer, tracer.exits(outputs)


@contextmanager
def _as_written() -> Iterator[None]:
    """Run a model operation by operation, whatever modes the caller is in."""
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        torch.compiler.set_stance("force_eager"),
    ):
        yield


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
        unit_parameters={
            name: tuple(sorted(spaces)) for name, spaces in tracer.unit_parameters.items()
        },
        approximations=tuple(dict.fromkeys(tracer.approximations)),
    )
