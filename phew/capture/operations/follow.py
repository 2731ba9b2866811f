"""Follow one operation: the units of activations through it, or the elements of parameters."""

from __future__ import annotations

import torch

from phew.capture.calls import Call
from phew.capture.modes import CONSTANTS
from phew.capture.operations import (
    CHOICES,
    NORMALISATIONS,
    WEIGHTED,
    Rule,
    indexing,
    joins,
    movement,
    products,
    rule_of,
    weights,
)
from phew.capture.operations.absent import follow_absent
from phew.capture.operations.biases import follow_biases
from phew.capture.operations.parameters import (
    follow_parameters,
    follow_scaled,
    note_composed,
    note_uses,
)
from phew.capture.tracer import Tracer
from phew.capture.values import MissingValuesError
from phew.running.failures import is_lack_of_memory


def follow(tracer: Tracer, call: Call) -> None:
    """Label what an operation returned, or note which parameters it comes from."""
    rule = rule_of(call)
    if _has_units(tracer, call, rule):
        operands = tracer.readers.operands_of(call)
        with follow_biases(tracer, call, rule, applies_weights=rule in WEIGHTED):
            _label(tracer, call, rule)
        tracer.readers.follow(call, operands, is_norm=rule in NORMALISATIONS)
        note_uses(tracer, call)
        if rule in WEIGHTED:
            note_composed(tracer, call, _weights_of(tracer, call, rule))
        else:
            follow_scaled(tracer, call)
    elif call.operation.overloadpacket not in CONSTANTS:
        follow_parameters(tracer, call, takes_shape=rule is movement.constant)
        follow_absent(tracer, call)


def _has_units(tracer: Tracer, call: Call, rule: Rule) -> bool:
    """Return whether units pass through an operation, or enter at its constants."""
    read = indexing.read_tensors(call) if rule in CHOICES else call.tensors
    has_labels = any(tracer.activations.labels_of(tensor) is not None for tensor in read)
    return has_labels or _is_fed_by_constants(tracer, call, rule)


def _label(tracer: Tracer, call: Call, rule: Rule) -> None:
    """Apply a rule, or replace the operation by a complete wiring where the rule fails."""
    try:
        rule(tracer, call)
    except MissingValuesError:
        raise
    except Exception as error:
        if is_lack_of_memory(error):
            raise
        # A case that the rule was not written for must not keep the model from being pruned.
        joins.unknown(tracer, call, f"{type(error).__name__}: {error}")


def _weights_of(tracer: Tracer, call: Call, rule: Rule) -> list[torch.Tensor]:
    """Return the arguments of a weighted operation that are weights."""
    if rule is weights.embedding:
        return []
    if rule is not products.multiply:
        return [call.args[1]]
    # Either factor may be weights, where the other is an activation.
    left, right = call.args[call.name in products.WITH_BIAS :][:2]
    if tracer.activations.labels_of(left) is None and tracer.activations.labels_of(right) is None:
        # A constant is the activation.
        return [left, right]
    return [
        factor
        for factor, other in ((left, right), (right, left))
        if tracer.activations.labels_of(other) is not None
    ]


def _is_fed_by_constants(tracer: Tracer, call: Call, rule: Rule) -> bool:
    """Return whether weights are applied to a parameter or constant, which then is an entry.

    It is false where parameters only compute other weights: spectral norm multiplies a matrix by a
    vector, and a matrix of low rank is the product of two parameters of one module, or of modules
    that do not run.
    """
    if rule not in WEIGHTED or call.name in ("mv", "dot", "vdot"):
        return False
    if tracer.modules.are_parametrizing:
        return False
    origins = [each for each in map(tracer.parameters.origin_of, call.tensors) if each]
    names = frozenset[str]().union(*(origin.names for origin in origins))
    matrices = call.name in ("mm", "bmm") and len(origins) > 1
    owners = {name.rpartition(".")[0] for name in names}
    has_weights = any(map(tracer.parameters.elements_of, call.tensors))
    within = len(owners) == 1 or tracer.modules.innermost not in owners
    return has_weights and not (matrices and within)
