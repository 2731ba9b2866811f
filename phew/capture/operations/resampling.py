"""Operations along dimensions of space or time: pooling, resizing, sampling, transforms."""

from __future__ import annotations

import math

import torch

from phew.capture.calls import Call
from phew.capture.labels import NO_UNIT, compact, is_input, reshape, runs, varying_dims
from phew.capture.operations.joins import combine, merge, unknown
from phew.capture.tracer import Tracer

MOST_TERMS = 2**24
"""Running sums are wired exactly if they have at most this many terms in all."""


def resample(tracer: Tracer, call: Call) -> None:
    """Pool or resize: units stay on the leading dimensions, the trailing ones change size."""
    labels = tracer.labels_or_constant(call.args[0])
    num_trailing = next(int(char) for char in call.name if char.isdigit())
    first_trailing = labels.dim() - num_trailing
    trailing = range(first_trailing, labels.dim())
    output = call.outputs[0]
    if set(trailing).isdisjoint(varying_dims(labels)) or is_input(labels):
        for dim in trailing:
            labels = labels.narrow(dim, 0, 1)
    elif call.name.startswith(("max_unpool", "fractional")):
        unknown(tracer, call, "its windows follow from values")
        return
    else:
        labels = compact(labels, keep=trailing)
        for dim in trailing:
            labels = _in_windows(labels, dim, _windows(call, dim, first_trailing))
        labels = merge(tracer, labels, range(-num_trailing, 0), call.place)
        labels = labels.flatten(-num_trailing).squeeze(-1)
    tracer.label(call, output, labels.expand(output.shape))


def _windows(call: Call, dim: int, first_trailing: int) -> torch.Tensor:
    """Return which positions along a dimension each result depends on, shape (results, positions).

    The operation is run on a batch whose example p is 1 at position p and 0 elsewhere. If 4
    positions are pooled by 2, result 0 is not zero for examples 0 and 1, so it depends on positions
    0 and 1. Each dimension is treated apart from the others.
    """
    trailing = call.args[0].shape[first_trailing:]
    probed = dim - first_trailing + 2
    size = trailing[dim - first_trailing]
    shape = [size if axis in (0, probed) else 1 for axis in range(len(trailing) + 2)]
    probe = torch.eye(size, device="cpu").view(shape).expand(size, 1, *trailing).contiguous()
    results = call.operation(probe, *call.args[1:], **call.kwargs)
    first: torch.Tensor = results[0] if isinstance(results, tuple) else results
    return (first != 0).movedim(probed, 0).flatten(2).any(dim=2)


def _in_windows(labels: torch.Tensor, dim: int, windows: torch.Tensor) -> torch.Tensor:
    """Replace the positions along a dimension by windows of them; places in these come last."""
    used, positions = windows.sort(dim=1, descending=True, stable=True)
    num_places = int(windows.sum(dim=1).max())
    used, positions = used[:, :num_places], positions[:, :num_places]
    chosen = labels.index_select(dim, positions.flatten())
    chosen = chosen.unflatten(dim, (len(windows), num_places)).movedim(dim + 1, -1)
    used = used.view([len(windows) if axis == dim else 1 for axis in range(labels.dim())] + [-1])
    return torch.where(used, chosen, NO_UNIT)


def make_grid(tracer: Tracer, call: Call) -> None:
    """Make coordinates of an affine map: each is computed from one row of the matrix."""
    labels = merge(tracer, tracer.labels_or_constant(call.args[0]), [2], call.place)
    places = [1] * (call.result.dim() - 2)
    labels = labels.reshape(labels.shape[0], *places, labels.shape[1])
    tracer.label(call, call.result, labels.expand(call.result.shape))


def sample_grid(tracer: Tracer, call: Call) -> None:
    """Sample an image at coordinates, which move every channel."""
    image, grid = (tracer.labels_or_constant(tensor) for tensor in call.args[:2])
    image = merge(tracer, image, range(2, image.dim()), call.place)
    grid = merge(tracer, grid, range(1, grid.dim()), call.place)
    grid = reshape(grid, torch.Size([grid.shape[0], *[1] * (image.dim() - 1)]))
    shape = torch.broadcast_shapes(image.shape, grid.shape)
    labels = combine(tracer.builder.join, [image, grid], shape, call.place)
    tracer.label(call, call.result, labels.expand(call.result.shape))


def pool_regions(tracer: Tracer, call: Call) -> None:
    """Pool regions of an image: channels stay, regions take the batch's place."""
    labels = tracer.labels_or_constant(call.args[0])
    dims = [dim for dim in range(labels.dim()) if dim != 1]
    labels = merge(tracer, labels, dims, call.place)
    tracer.label(call, call.outputs[0], labels.expand(call.outputs[0].shape))


def unfold_windows(tracer: Tracer, call: Call) -> None:
    """Cut windows out of an image: (batch, channels * window, places)."""
    labels = tracer.labels_or_constant(call.args[0])
    window = math.prod(call.args[1])
    labels = merge(tracer, labels, [-1, -2], call.place).squeeze(-1)
    labels = labels.expand(*labels.shape[:-1], window)
    labels = reshape(labels, torch.Size([*labels.shape[:-2], labels.shape[-2] * window]))
    tracer.label(call, call.result, labels.unsqueeze(-1).expand(call.result.shape))


def fold_windows(tracer: Tracer, call: Call) -> None:
    """Sum windows (batch, channels * window, places) up to an image."""
    labels = tracer.labels_or_constant(call.args[0])
    window = math.prod(call.args[2])
    labels = merge(tracer, labels, [-1], call.place).squeeze(-1).unflatten(-1, (-1, window))
    labels = merge(tracer, labels, [-1], call.place)
    tracer.label(call, call.result, labels.unsqueeze(-1).expand(call.result.shape))


def transform(tracer: Tracer, call: Call) -> None:
    """Transform some dimensions as a whole, e.g. by Fourier: every result needs every element."""
    labels = merge(tracer, tracer.labels_or_constant(call.args[0]), call.args[1], call.place)
    tracer.label(call, call.result, compact(labels).expand(call.result.shape))


def accumulate(tracer: Tracer, call: Call) -> None:
    """Sum up from the first element to each, e.g. cumsum: each is fed by all before it."""
    labels = tracer.labels_or_constant(call.args[0])
    dim = call.args[1] % max(labels.dim(), 1)
    if dim in varying_dims(labels) and not is_input(labels):
        starts, run_of = runs([labels], dim)
        labels = compact(labels).index_select(dim, starts)
        if labels.numel() * len(starts) > MOST_TERMS:
            unknown(tracer, call, "it accumulates from too many units to units")
            return
        until = torch.ones(len(starts), len(starts), dtype=torch.bool, device="cpu").tril()
        labels = _in_windows(labels, dim, until)
        labels = merge(tracer, labels, [-1], call.place).squeeze(-1).index_select(dim, run_of)
    tracer.label(call, call.outputs[0], labels.expand(call.outputs[0].shape))
