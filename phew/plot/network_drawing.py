"""The picture of a walk graph: blocks as columns, their layers as boxes."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from phew.analysis.kept import whole_masks
from phew.graph.walk_graph import WalkGraph
from phew.plot.figures import ShownFigure, whole_figure
from phew.plot.network_blocks import Column, Layer, columns_of
from phew.plot.pen import BAR, FAINT, SHORTCUT, Colour, Pen
from phew.support.tables import shortened
from phew.support.warn import listed

# Sizes in inches, of figures that are drawn as large as they are made.
_LINE_WIDTH = 12.2
_BOX_WIDTHS = {1: 1.3, 2: 1.0, 3: 1.0}
"""By how many boxes are side by side."""

_BOX_HEIGHT, _BOX_GAP, _LONGEST_BAR = 0.6, 0.15, 0.8
_PADDING, _COLUMN_GAP, _END_WIDTH = 0.1, 0.36, 0.8
_ABOVE, _BELOW = 0.32, 0.14
"""Room above a line of columns, where shortcuts are, and below it."""

_HEADER, _LEGEND, _TEXT_LINE = 0.4, 0.4, 0.135
_LETTERS = 15.0
"""Letters of small text in an inch."""

_NOTHING = "#f4cfc9"
_MOST_KEPT, _LEAST_KEPT = (0.51, 0.71, 0.88), (0.95, 0.97, 0.99)
_FAINTEST_DENSITY = 1e-3


def network(
    graph: WalkGraph,
    masks: Mapping[str, torch.Tensor] | None = None,
    *,
    ax: Axes | None = None,
) -> Figure:
    """Draw a network as walks see it.

    Blocks are columns, from the input to the output; equal blocks are one column, with their
    number. A box is a layer. It has the number of its units, as a bar too, whose length is on a
    scale of square roots, and the share of its weights that is kept. Hatched boxes are not pruned.
    Lines join layers of a block of which one reads the other. A dashed line around a block says
    that it has a shortcut. A block that reads others than the one before it names them.

    Args:
        graph: What `phew.capture` returned.
        masks: Boolean tensors by parameter name, such as `phew.Masks`; weights without a mask are
            kept. By default boxes have the number of their weights.
        ax: Axes to draw into, of which the picture takes all; by default those of a new figure,
            which is as large as it needs to be.

    Returns:
        The figure, of `ax` if it is given.

    Raises:
        TypeError: If a mask is not a bool tensor.
        ValueError: If masks do not fit the graph.

    Example:
        >>> import torch, phew
        >>> from phew import plot
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 4))
        >>> graph = phew.capture(model, torch.zeros(1, 64))
        >>> figure = plot.network(graph, phew.sample_masks(graph, density=0.2))
        >>> "32 units" in [text.get_text() for text in figure.axes[0].texts]
        True
    """
    whole = {} if masks is None else whole_masks(graph, masks)
    columns = columns_of(graph, whole)
    picture = _Picture(graph, columns, has_masks=masks is not None)
    if ax is None:
        figure = ShownFigure(figsize=(picture.width, picture.height))
        figure.set_label(_description(columns))
        ax = figure.add_axes((0, 0, 1, 1))
    picture.draw(ax)
    return whole_figure(ax)


def _description(columns: Sequence[Column]) -> str:
    names = [f"{column.num_blocks} {column.name}" for column in columns]
    return f"The network's blocks from input to output: {', '.join(names)}"


@dataclass(frozen=True)
class _Placed:
    """A column in its place, and the texts that need room in it."""

    place: int
    column: Column
    x: float
    width: float
    title: list[str]
    reads: list[str]

    @property
    def rows_top(self) -> float:
        """The distance from the top of the column to its first row."""
        return _PADDING + _TEXT_LINE * len(self.title) + 0.06

    @property
    def height(self) -> float:
        rows = len(self.column.rows) * (_BOX_HEIGHT + _BOX_GAP) - _BOX_GAP
        return self.rows_top + rows + _TEXT_LINE * len(self.reads) + _PADDING

    def box(self, row: int, place: int) -> tuple[float, float, float]:
        """Return the left edge, the width and the distance from the top of the column of a box."""
        num_boxes = len(self.column.rows[row])
        width = (self.width - _PADDING * (num_boxes + 1)) / num_boxes
        left = self.x + _PADDING + place * (width + _PADDING)
        return left, width, self.rows_top + row * (_BOX_HEIGHT + _BOX_GAP)


class _Picture:
    """The columns in lines, as text is: where each is, and how large all are."""

    def __init__(self, graph: WalkGraph, columns: Sequence[Column], *, has_masks: bool) -> None:
        self._graph = graph
        self._columns = columns
        self._has_masks = has_masks
        layers = [layer for column in columns for row in column.rows for layer in row]
        self._layers = layers
        self._most_units = max((_units(layer) for layer in layers), default=1)
        self._lines = self._placed()
        right = max((line[-1].x + line[-1].width for line in self._lines if line), default=0.0)
        self.width = max(right + _END_WIDTH, 6.0)
        self._notes = textwrap.wrap(self._unpruned(), int(self.width * _LETTERS))
        self._tops = [_HEADER + _ABOVE]
        for line in self._lines:
            self._tops.append(self._tops[-1] + max(each.height for each in line) + _BELOW + _ABOVE)
        self._end = self._tops.pop() - _ABOVE
        self.height = self._end + _TEXT_LINE * len(self._notes) + _LEGEND + 0.1

    def _placed(self) -> list[list[_Placed]]:
        lines: list[list[_Placed]] = [[]]
        x = _END_WIDTH
        for place, column in enumerate(self._columns):
            beside = max(map(len, column.rows))
            width = beside * (_BOX_WIDTHS[beside] + _PADDING) + _PADDING
            if lines[-1] and x + width + _END_WIDTH > _LINE_WIDTH:
                lines.append([])
                x = _END_WIDTH
            num_letters = int(width * _LETTERS * 0.86)
            times = f" x{column.num_blocks}" if column.num_blocks > 1 else ""
            title = _broken(column.name + times, num_letters)
            reads = textwrap.wrap(self._others(place), num_letters)
            lines[-1].append(_Placed(place, column, x, width, title, reads))
            x += width + _COLUMN_GAP
        return lines

    def _others(self, place: int) -> str:
        """Say what a column reads beside the one before it, and where else it leads."""
        column = self._columns[place]
        others = [source for source in column.sources if source != place - 1]
        names = ["the input" if each < 0 else self._columns[each].name for each in others]
        also = "also reads" if len(others) < len(column.sources) else "reads"
        texts = [f"{also} {listed(names, 2)}"] if names else []
        if column.is_exit and place < len(self._columns) - 1:
            texts.append("leads to the output")
        return "; ".join(texts)

    def _unpruned(self) -> str:
        """Say how many parameters are not pruned, by reason."""
        # Reasons have details behind a colon, such as the module.
        details = self._graph.notes.not_prunable.values()
        reasons = Counter(reason.partition(": ")[0] for reason in details)
        counts = [f"{count:,} x {reason}" for reason, count in reasons.most_common()]
        return f"Parameters that are not pruned: {listed(counts)}" if counts else ""

    def _header(self) -> str:
        num_weights = self._graph.num_prunable_weights
        if not self._has_masks:
            return f"{num_weights:,} prunable weights"
        pruned = [layer for layer in self._layers if layer.is_pruned]
        num_kept = sum(layer.num_kept for layer in pruned)
        share = num_kept / num_weights if num_weights else 1.0
        return f"{num_kept:,} of {num_weights:,} prunable weights kept ({share:.2%})"

    def draw(self, ax: Axes) -> None:
        """Draw everything; axes that are smaller than the picture get smaller letters."""
        ax.set(xlim=(0, self.width), ylim=(self.height, 0), aspect="equal")
        ax.set_axis_off()
        box = ax.get_position().transformed(ax.figure.transSubfigure)
        dpi = ax.figure.dpi
        scale = min(1.0, box.width / dpi / self.width, box.height / dpi / self.height)
        pen = Pen(ax, scale)
        pen.text(0.2, _HEADER / 2 + 0.05, self._header(), 9, weight="bold", ha="left")
        for line, top in zip(self._lines, self._tops, strict=True):
            self._draw_flow(pen, line, top)
            for placed in line:
                self._draw_column(pen, placed, top)
        for number, note in enumerate(self._notes):
            y = self._end + _TEXT_LINE * (number + 0.5)
            pen.text(0.2, y, note, 6.5, color=FAINT, ha="left")
        pen.legend(self._legend())

    def _draw_flow(self, pen: Pen, line: list[_Placed], top: float) -> None:
        """Draw the arrows of a line of columns, and the network's input and output."""
        y = top + _PADDING + _TEXT_LINE / 2
        for left, right in pairwise(line):
            if self._follows(right):
                pen.arrow(left.x + left.width, right.x, y)
        if line[0].place == 0:
            pen.text(0.32, y, self._ends("input", self._graph.entries), 7)
            pen.arrow(_END_WIDTH - 0.18, line[0].x, y)
        elif self._follows(line[0]):
            pen.arrow(line[0].x - _COLUMN_GAP, line[0].x, y)
        end = line[-1].x + line[-1].width
        if line[-1].place == len(self._columns) - 1:
            pen.arrow(end, end + 0.18, y)
            pen.text(end + _END_WIDTH - 0.32, y, self._ends("output", self._graph.exits), 7)
        else:
            pen.arrow(end, end + _COLUMN_GAP, y)

    def _follows(self, placed: _Placed) -> bool:
        """Whether a column reads the one before it."""
        return placed.place - 1 in placed.column.sources

    def _ends(self, name: str, spaces: Sequence[int]) -> str:
        num_units = sum(self._graph.spaces[space].num_units for space in spaces)
        return f"{name}\n{_counted(num_units, 'unit')}"

    def _draw_column(self, pen: Pen, placed: _Placed, top: float) -> None:
        pen.panel(placed.x, top, placed.width, placed.height)
        center = placed.x + placed.width / 2
        for number, part in enumerate(placed.title):
            y = top + _PADDING + _TEXT_LINE * (number + 0.5)
            pen.text(center, y, part, 7.5, weight="bold")
        if placed.column.has_shortcut:
            y, margin = top + _PADDING + _TEXT_LINE / 2, 0.3 * _COLUMN_GAP
            pen.bypass(placed.x - margin, placed.x + placed.width + margin, y, top - 0.14)
        for (row, place), (below, reader) in placed.column.joined:
            x, width, y = placed.box(row, place)
            to_x, to_width, to_y = placed.box(below, reader)
            start = x + width / 2, top + y + _BOX_HEIGHT
            pen.line([start, (to_x + to_width / 2, top + to_y)])
        for row, layers in enumerate(placed.column.rows):
            for place, layer in enumerate(layers):
                x, width, y = placed.box(row, place)
                self._draw_layer(pen, layer, placed.column, (x, top + y), width)
        for number, part in enumerate(reversed(placed.reads)):
            y = top + placed.height - 0.06 - _TEXT_LINE * (number + 0.5)
            pen.text(center, y, part, 6.5, color=FAINT, style="italic")

    def _draw_layer(
        self, pen: Pen, layer: Layer, column: Column, corner: tuple[float, float], width: float
    ) -> None:
        pen.box(corner, (width, _BOX_HEIGHT), self._colour(layer), is_hatched=not layer.is_pruned)
        num_alike = layer.num_parameters // column.num_blocks
        times = f" x{num_alike}" if num_alike > 1 else ""
        name = shortened(layer.name, int((width - 0.06) * _LETTERS) - len(times)) + times
        # The title of a column names its only layer.
        names = [] if layer.name == column.name else [name]
        middle, y = corner[0] + width / 2, corner[1] + (0.11 if names else 0.04)
        for text in names:
            pen.text(middle, y, text, 7, weight="bold")
        pen.text(middle, y + 0.14, _counted(_units(layer), "unit"), 6.5)
        pen.text(middle, y + 0.275, self._fact(layer), 6.5)
        bar = _LONGEST_BAR * math.sqrt(_units(layer) / self._most_units)
        share = layer.num_active_units / layer.num_units if layer.num_units else 1.0
        pen.bar(middle - bar / 2, corner[1] + 0.48, bar, share)

    def _fact(self, layer: Layer) -> str:
        if not layer.is_pruned:
            return "not pruned"
        if not self._has_masks:
            return f"{_compact(layer.num_weights // layer.num_parameters)} weights"
        if not layer.num_kept:
            return "nothing kept"
        return f"{100 * layer.num_kept / layer.num_weights:.3g}% kept"

    def _colour(self, layer: Layer) -> Colour:
        if not layer.is_pruned:
            return "white"
        if not layer.num_kept:
            return _NOTHING
        density = max(layer.num_kept / layer.num_weights, _FAINTEST_DENSITY)
        share = math.log(density / _FAINTEST_DENSITY) / -math.log(_FAINTEST_DENSITY)
        return _shade(share if self._has_masks else 0.5)

    def _legend(self) -> list[Artist]:
        """Return an entry for each thing that the picture has."""
        kept = "pruned, the darker the more is kept" if self._has_masks else "prunable"
        entries: list[Artist] = []
        if any(layer.is_pruned for layer in self._layers):
            entries.append(Patch(fc=_shade(1.0 if self._has_masks else 0.5), ec=FAINT, label=kept))
        if not all(layer.is_pruned for layer in self._layers):
            entries.append(Patch(fc="white", ec="#bbbbbb", hatch="////", label="not pruned"))
        units = "units, light if not active" if self._has_masks else "units"
        entries.append(Line2D([], [], color=BAR, linewidth=3, label=units))
        if any(column.has_shortcut for column in self._columns):
            entries.append(Line2D([], [], color=SHORTCUT, linestyle="--", label="shortcut"))
        return entries


def _shade(share: float) -> Colour:
    """Return the colour between that of the least and that of the most kept."""
    pairs = zip(_LEAST_KEPT, _MOST_KEPT, strict=True)
    return tuple(least + share * (most - least) for least, most in pairs)


def _units(layer: Layer) -> int:
    """Return the units of one of the layers."""
    return layer.num_units // layer.num_parameters


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _compact(number: int) -> str:
    """Write numbers that are too long for a box with three digits: 2.36M."""
    if number < 100_000:
        return f"{number:,}"
    number = round(float(f"{number:.2e}"))  # 999,999 is 1M
    power = 3 * ((len(str(number)) - 1) // 3)
    return f"{number / 10**power:.3g}{'kMGTP'[power // 3 - 1]}"


def _broken(name: str, num_letters: int) -> list[str]:
    """Break a name at its dots into lines of so many letters, two at most."""
    if len(name) <= num_letters:
        return [name]
    dots = [place for place, letter in enumerate(name) if letter == "." and place < num_letters]
    if not dots:
        return [shortened(name, num_letters)]
    return [name[: dots[-1]], shortened(name[dots[-1] :], num_letters)]
