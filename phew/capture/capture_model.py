"""Capture a PyTorch model as a walk graph: run it once and follow the units through it."""

from __future__ import annotations

import dataclasses
import weakref
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from phew.arguments import Selectors, as_module
from phew.capture.checks import check_weights
from phew.capture.left_out import off_every_path, warn_of
from phew.capture.modes import Mode
from phew.capture.notes import RunNotes
from phew.capture.operations.follow import follow
from phew.capture.selection import Selection, why_not_prunable
from phew.capture.tracer import Tracer
from phew.capture.values import MissingValuesError
from phew.distributed.sharding import reshard
from phew.graph.links import WeightedLink
from phew.graph.notes import CaptureNotes
from phew.graph.walk_graph import WalkGraph
from phew.running.adapters import switch_off_adapters
from phew.running.as_written import as_written
from phew.running.call import as_call
from phew.running.example_inputs import described_inputs
from phew.running.failures import ModelFailedError, add_note, is_lack_of_memory
from phew.running.leftovers import Surroundings, warn_of_left
from phew.running.parts import parts_of
from phew.running.preserve import one_at_a_time, preserved
from phew.running.sharded import stand_in_for_shards
from phew.running.tensors import all_tensors
from phew.running.wrapped import is_wrapper, stand_in_for_wrapped

_OFF_EVERY_PATH = "on no path from the example to what the model returns in evaluation mode"


def capture(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> WalkGraph:
    """Turn a model into the graph that walks run on.

    The model runs once, in evaluation mode, on tensors without data where it does not read values.
    An operation that capture does not know is replaced by a complete wiring and listed in
    `WalkGraph.notes`. The model is left as it was: parameters, buffers, gradients, flags,
    hooks, attributes, and what containers and objects in them hold. Tensors of the run that it
    keeps in its classes, their Python modules or caches of functions are taken out of them, and
    those that are elsewhere are warned of.

    Other threads may compute meanwhile, also on copies of the model, and draw random numbers. Those
    that the model draws are not drawn from torch's generators. The states of Python's and NumPy's
    generators are put back, unless another thread runs, which may have drawn from them. Only what
    `torch.compile` has compiled runs as it is written in all threads.

    Prunable are the parameters of two or more dimensions that are weights of a link: not biases,
    normalisations, and embeddings that are added. Lookup embeddings, tied or not, are not pruned
    unless `include` selects them: what they look up is an entry of the graph. Nor are adapters that
    PEFT added, without which the model then runs. `phew.inspect` says what is not pruned, and why.

    Of a model that is sharded by FSDP2 or by tensor parallelism no weights are gathered: it runs on
    shapes alone. One that reads values is to be captured before it is sharded, and its graph given
    the sharded parameters by `dataclasses.replace(graph, parameters=dict(...))`.

    Args:
        model: The model. Its parameters are referred to, not copied.
        example_inputs: What the model accepts: a tensor, a tuple of positional or a dict of keyword
            arguments. Values do not matter, shapes do. Tensors may be in objects, such as a batch
            of graphs, which are copied. May be left out for models of timm, torchvision and
            transformers that describe their input, those among them that PEFT wrapped, and modules
            that have an `example_input_array`, as Lightning's do.
        include: Which parameters alone are to be pruned, by one selector or several: their names or
            those of modules that they are in, with `*` and `?` as wildcards; modules that they are
            in; types of modules, which stand for the parameters that such modules own themselves.
        exclude: Which of them are not to be pruned, in the same way.

    Returns:
        The walk graph.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If the model does not accept the example inputs or does not describe its own,
            nothing in it can be pruned, a pattern or type matches no parameter, a weight's dtype
            or layout is not supported, or weights share memory or are offloaded. From Python 3.11
            on, notes say how earlier attempts failed, on shapes for instance.

    Example:
        >>> import torch, phew
        >>> layers = torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
        >>> model = torch.nn.Sequential(*layers)
        >>> print(phew.capture(model, torch.zeros(1, 8)))
        WalkGraph: 3 spaces, 2 weighted and 0 wiring links, 40 prunable weights
    """
    model = as_module(model)
    reshard(model)
    args, kwargs = as_call(described_inputs(model) if example_inputs is None else example_inputs)
    selection = Selection(model, include, exclude)
    check_weights(model, selection.refused)
    try:
        with one_at_a_time():
            tracer, exits = _trace(model, args, kwargs, selection.included)
    except ModelFailedError as failure:
        rule = "accepted by the model"
        if example_inputs is None:
            rule = f"given for {type(model).__name__}, which does not accept what it describes"
        remedy = ""
        if _is_on_meta(model):
            remedy = " Build a model that reads values without torch.device('meta')."
        refusal = ValueError(f"example_inputs must be {rule}, got {_told(failure)}{remedy}")
        for note in getattr(failure, "__notes__", ()):
            add_note(refusal, note)
        raise refusal from failure.__cause__
    graph = _graph(model, tracer, exits, selection)
    warn_of(graph.notes)
    return graph


def _trace(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], included: set[str]
) -> tuple[Tracer, list[int]]:
    """Run the model in the first mode that it accepts; return the tracer and the exits."""
    parts = parts_of(model)
    # A model on the meta device has no values to run on: the modes that need them would take those
    # that it reads for values that follow from the input. So only shapes are tried.
    if _is_on_meta(model):
        return _run(model, parts, args, kwargs, included, Mode.SHAPES, [])
    surroundings = Surroundings(parts)
    failures: dict[Mode, str] = {}
    for mode in Mode:
        made: list[weakref.ref[torch.Tensor]] = []
        try:
            traced = _run(model, parts, args, kwargs, included, mode, made)
        except (ModelFailedError, MissingValuesError) as error:
            failures[mode] = told = _told(error)
            if mode is [*Mode][-1]:
                for earlier, failure in failures.items():
                    if failure != told:
                        add_note(error, f"Run {earlier.value}: {failure}")
                raise
            traced = None
        finally:
            surroundings.put_back(made)
        warn_of_left(made)
        if traced is not None:
            return traced
    raise AssertionError


def _told(error: BaseException) -> str:
    """Say what failed."""
    cause = error.__cause__ if isinstance(error, ModelFailedError) else error
    return f"{type(cause).__name__}: {cause}"


def _is_on_meta(model: nn.Module) -> bool:
    return any(parameter.is_meta for parameter in model.parameters())


def _run(
    model: nn.Module,
    parts: Sequence[Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    included: set[str],
    mode: Mode,
    made: list[weakref.ref[torch.Tensor]],
) -> tuple[Tracer, list[int]]:
    """Run the model in one mode; return the tracer and the exits."""
    with preserved(parts, all_tensors((args, kwargs))) as saver:
        for module in model.modules():
            module.training = False
        switch_off_adapters(model, but=included)
        stand_in_for_shards(model)
        wrapped = [parameter for parameter in model.parameters() if is_wrapper(parameter)]
        if mode is Mode.SHAPES:
            wrapped = stand_in_for_wrapped(model)
        tracer = Tracer(model, follow, saver, mode=mode, made=made, included=included)
        for parameter in wrapped:
            tracer.parameters.leave_out(parameter)
        args, kwargs = tracer.enter((args, kwargs))
        on_shapes, gradients = mode is Mode.SHAPES, mode is Mode.GRADIENTS
        with as_written(gradients=gradients, casts=not on_shapes), tracer:
            try:
                outputs = model(*args, **kwargs)
            except Exception as error:
                if error is tracer.failure or is_lack_of_memory(error):
                    raise
                raise ModelFailedError from error
        return tracer, tracer.exits(outputs)


def _graph(model: nn.Module, tracer: Tracer, exits: list[int], selection: Selection) -> WalkGraph:
    """Make the graph of what a tracer has seen, and note what cannot be pruned, and why."""
    links = tracer.builder.spaces.links
    linked = {link.parameter for link in links if isinstance(link, WeightedLink)}
    parameters = {name: parameter for name, parameter in model.named_parameters() if name in linked}
    with_parameters = set().union(*tracer.unit_parameters.values())
    spaces, links, entries, index = tracer.builder.spaces.finish(
        exits, with_parameters, tracer.readers.size_matters
    )
    graph = WalkGraph(
        spaces=tuple(spaces),
        links=tuple(links),
        entries=tuple(entries),
        exits=tuple(index[space] for space in exits),
        parameters=parameters,
        prunable=(),
        unit_parameters={
            name: tuple(sorted(index[space] for space in owners))
            for name, owners in tracer.unit_parameters.items()
        },
        aliases=_aliases(model, parameters),
    )
    return _with_prunable(graph, model, tracer.notes, selection)


def _with_prunable(
    graph: WalkGraph, model: nn.Module, notes: RunNotes, selection: Selection
) -> WalkGraph:
    """Return the graph with the parameters that are pruned, and why the others are not."""
    if_named = " (pruned where include names it)"
    by_request = dict.fromkeys(off_every_path(graph), _OFF_EVERY_PATH + if_named)
    for name, use in notes.composed.items():
        reason = f"its weights are computed: {use}"
        by_request[name] = reason + (if_named if name in graph.parameters else "")
    for name, use in notes.inverted.items():
        by_request[name] = f"zeros would make it singular for {use}" + if_named
    by_request.update(dict.fromkeys(notes.lookups, "lookup embedding" + if_named))
    prunable = tuple(
        name
        for name, parameter in graph.parameters.items()
        if parameter.dim() > 1 and selection.allows(name, by_request)
    )
    not_prunable = why_not_prunable(
        model, selection, prunable=prunable, by_request=by_request, uses=notes.uses
    )
    selection.check([name for name in prunable if graph.parameters[name].numel()], not_prunable)
    return dataclasses.replace(
        graph,
        prunable=prunable,
        notes=CaptureNotes(
            approximations=tuple(dict.fromkeys(notes.approximations)),
            not_prunable=not_prunable,
            left_dense=tuple(
                name
                for name, parameter in model.named_parameters()
                if parameter.dim() > 1
                and name in by_request.keys() - notes.lookups
                and name in not_prunable.keys() - selection.refused.keys()
            ),
            derived={name: notes.derived[name] for name in prunable if name in notes.derived},
            normalised={
                name: notes.normalised[name] for name in prunable if name in notes.normalised
            },
        ),
    )


def _aliases(
    model: nn.Module, parameters: Mapping[str, torch.Tensor]
) -> dict[str, tuple[str, ...]]:
    """Return the other names of parameters that are tied."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return {
        first: tuple(others) for first, *others in names.values() if others and first in parameters
    }
