"""Links by weights: one, or one for each piece where no single stride steps through them.

The weights `torch.cat([query, key])`, of 2 x 3 elements each, lead from three sources to four
targets. They are two pieces along the targets: the units of two links, one behind the other. Cut
along the sources they would be two links to the same targets, whose results are summed: a join.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from phew.capture.calls import Call
from phew.capture.labels import NO_UNIT, by_position
from phew.capture.mosaics import MOST_PIECES, Mosaic, Piece, cut, distinct, gather_rows
from phew.capture.operations.joins import unknown
from phew.capture.parameter_views import ParameterView
from phew.capture.tracer import Tracer

_TOO_MANY = f"its weights are put together from more than {MOST_PIECES} pieces of parameters"


def link(
    tracer: Tracer,
    view: ParameterView,
    labels: torch.Tensor,
    axes: list[int],
    shape: tuple[int, int, int, int],
    strides: tuple[int, int, int, int],
    *,
    num_uses: float | None = None,
    num_copies: int = 1,
) -> int:
    """Link the units along some axes of an activation to a new space, and return that.

    Args:
        tracer: The tracer.
        view: The weights.
        labels: The activation's labels.
        axes: The dimensions of its units.
        shape: The edges (see `WeightedLink.shape`).
        strides: Their strides in the parameter.
        num_uses: See `WeightedLink`; by default each element of the activation meets one of the
            weights that lead to a target.
        num_copies: Number of copies of the source's and the target's units, by group.
    """
    if num_uses is None:
        num_uses = labels.numel() / max(shape[0] * shape[2], 1)
    name = view.name.rpartition(".")[0] or view.name
    source = tracer.builder.find_or_add_space(
        by_position(labels, axes), name, num_copies=num_copies
    )
    offset = int(view.index.storage_offset())
    return tracer.builder.add_weights(
        source,
        name,
        view.name,
        shape,
        strides,
        offset,
        num_uses=num_uses,
        num_copies=num_copies,
        absent=view.absent,
    )


def link_pieces(
    tracer: Tracer,
    call: Call,
    numbers: torch.Tensor,
    absent: Mapping[str, torch.Tensor],
    rows: torch.Tensor,
    *,
    num_uses: float,
    merge_groups: bool,
) -> torch.Tensor | None:
    """Link the units in some rows to new spaces, piece by piece.

    Args:
        tracer: The tracer.
        call: The operation.
        numbers: The numbers of the weights, shape (groups, targets, sources, positions).
        absent: The elements of parameters that constants zero (see `Mosaic`).
        rows: The labels that each source reads, shape (groups, sources, places).
        num_uses: By how many values each weight is multiplied.
        merge_groups: Whether groups of equal weights are places of one, as in a batch of products.

    Returns:
        The labels of the targets, shape (groups, targets); None if the pieces are too many.
    """
    groups = torch.arange(len(numbers), device="cpu")
    if merge_groups:
        numbers, groups = distinct(numbers, 0)
        rows = gather_rows(rows, 0, groups, NO_UNIT)
    numbers, targets = distinct(numbers, 1)
    numbers, sources = distinct(numbers, 2)
    rows = gather_rows(rows, 1, sources, NO_UNIT)
    # The order of positions in a kernel says nothing.
    numbers = numbers.index_select(3, numbers.amax(dim=(0, 1, 2)).argsort(stable=True))
    piece = cut(numbers)
    if piece is None:
        return None
    labels = _link(tracer, call, piece, numbers.shape, absent, rows, num_uses)
    return labels.index_select(0, groups).index_select(1, targets)


def too_many_pieces(tracer: Tracer, call: Call, weights: Mosaic) -> None:
    """Wire an operation completely whose weights are too many pieces, and leave these dense."""
    unknown(tracer, call, _TOO_MANY)
    for name in sorted(tracer.parameters.names_in(weights)):
        tracer.notes.composed.setdefault(name, call.site)


def _link(
    tracer: Tracer,
    call: Call,
    piece: Piece,
    shape: torch.Size,
    absent: Mapping[str, torch.Tensor],
    rows: torch.Tensor,
    num_uses: float,
) -> torch.Tensor:
    """Return the labels of a piece's targets, shape (groups, targets)."""
    num_groups, num_targets, num_sources, num_positions = shape
    if piece.strides is not None:
        if piece.first < 0:
            return torch.full((num_groups, num_targets), NO_UNIT, dtype=torch.int32, device="cpu")
        view = tracer.parameters.piece_view(shape, piece.first, piece.strides)
        view = replace(view, absent=absent.get(view.name))
        edges = (num_groups, num_targets, num_sources, num_positions)
        steps = (piece.strides[0], piece.strides[1], piece.strides[2], piece.strides[3])
        space = link(tracer, view, rows, [0, 1], edges, steps, num_uses=num_uses)
        return tracer.builder.spaces.units(space).view(num_groups, num_targets)
    results, start = [], 0
    for part, size in piece.parts:
        part_shape = torch.Size([*shape[: piece.dim], size, *shape[piece.dim + 1 :]])
        part_rows = rows
        if piece.dim in (0, 2):
            part_rows = rows.narrow(min(piece.dim, 1), start, size)
        results.append(_link(tracer, call, part, part_shape, absent, part_rows, num_uses))
        start += size
    if piece.dim in (0, 1):
        return torch.cat(results, piece.dim)
    operands = [labels.reshape(-1, 1) for labels in results]
    return tracer.builder.join(operands, call.place).view(num_groups, num_targets)
