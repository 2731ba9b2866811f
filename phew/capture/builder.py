"""The walk graph under construction: spaces, links, and the labels of their units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from phew.capture.labels import NO_UNIT
from phew.graph import Link, Space, WeightedLink, WiringLink

IntArray = npt.NDArray[np.int64]


class GraphBuilder:
    """Collects spaces and links while a model runs.

    Units are numbered through all spaces: unit u of a space has the label `starts[space] + u`.
    """

    def __init__(self) -> None:
        self.spaces: list[Space] = []
        self.links: list[Link] = []
        self._starts: list[int] = []
        self._num_units = 0
        # Per space, a bit set of the spaces that lead to it.
        self._ancestors: list[int] = []
        self._space_of_labels: dict[tuple[tuple[torch.Size, ...], bytes], int] = {}
        self._entry_of_labels: dict[tuple[int, bytes], int] = {}

    def add_space(self, name: str, num_units: int) -> int:
        """Add a space and return its index."""
        self.spaces.append(Space(name, num_units))
        self._starts.append(self._num_units)
        self._num_units += num_units
        self._ancestors.append(0)
        return len(self.spaces) - 1

    def add_link(self, link: Link) -> None:
        """Add a link between two spaces."""
        self.links.append(link)
        self._ancestors[link.target] |= self._ancestors[link.source] | 1 << link.source

    @property
    def entries(self) -> tuple[int, ...]:
        """The spaces that the model's input feeds."""
        return tuple(self._entry_of_labels.values())

    def units(self, space: int) -> torch.Tensor:
        """Return the labels of a space's units, shape (num_units,)."""
        start = self._starts[space]
        return torch.arange(
            start, start + self.spaces[space].num_units, dtype=torch.int32, device="cpu"
        )

    def space_of(self, labels: torch.Tensor, name: str) -> int:
        """Return a space with one unit for each row of `labels`, wired from the units in that row.

        Args:
            labels: Labels by position, shape (num_positions, places); elements of the input become
                an entry.
            name: The name of the space, if a new one is needed.
        """
        return self.join([labels], name)

    def join(self, operands: Sequence[torch.Tensor], name: str) -> int:
        """Return a space with one unit a position, wired from the operands' units there.

        An operand's space that is an ancestor of another operand's is a shortcut.
        """
        key = (
            tuple(operand.shape for operand in operands),
            torch.cat(list(operands), dim=1).numpy().tobytes(),
        )
        if key not in self._space_of_labels:
            matrices = [self._with_entry(operand.numpy(), name) for operand in operands]
            self._space_of_labels[key] = self._join(matrices, name)
        return self._space_of_labels[key]

    def _with_entry(self, labels: npt.NDArray[np.int32], name: str) -> npt.NDArray[np.int32]:
        """Replace elements of the model's input by the units of a new entry, one a position."""
        is_input = (labels < NO_UNIT).any(axis=1)
        if not is_input.any():
            return labels
        key = (labels.shape[1], labels[is_input].tobytes())
        if key not in self._entry_of_labels:
            self._entry_of_labels[key] = self.add_space(f"input of {name}", int(is_input.sum()))
        entry = self._entry_of_labels[key]
        labels = labels.copy()
        labels[is_input] = self.units(entry).numpy()[:, np.newaxis]
        return labels

    def _join(self, matrices: list[npt.NDArray[np.int32]], name: str) -> int:
        if len(matrices) == 1 and (space := self._existing(matrices[0])) is not None:
            return space
        wirings = [list(self._edges(labels)) for labels in matrices]
        joined = self.add_space(name, len(matrices[0]))
        for number, wiring in enumerate(wirings):
            others = wirings[:number] + wirings[number + 1 :]
            ancestors = 0
            for source, _, _ in (edges for other in others for edges in other):
                ancestors |= self._ancestors[source]
            for source, units, positions in wiring:
                shortcut = bool(ancestors >> source & 1)
                self._wire(source, joined, units, positions, shortcut=shortcut)
        return joined

    def _existing(self, labels: npt.NDArray[np.int32]) -> int | None:
        """Return the space whose units are the positions in order, if there is one."""
        if not labels.size or (labels != labels[:, :1]).any():
            return None
        space = self._owner(labels[:1, 0])[0]
        same = np.array_equal(labels[:, 0], self.units(space).numpy())
        return int(space) if same else None

    def _owner(self, labels: npt.NDArray[np.int32]) -> IntArray:
        return np.searchsorted(self._starts, labels, side="right") - 1

    def _edges(self, labels: npt.NDArray[np.int32]) -> Iterator[tuple[int, IntArray, IntArray]]:
        """Yield (space, its units, positions) of the distinct pairs of label and position."""
        positions = np.repeat(np.arange(len(labels)), labels.shape[1])
        pairs = np.stack([labels.reshape(-1).astype(np.int64), positions])[:, labels.ravel() >= 0]
        if labels.shape[1] > 1:
            pairs = np.unique(pairs, axis=1)
        owners = self._owner(pairs[0].astype(np.int32))
        for space in np.unique(owners):
            units, positions = pairs[:, owners == space]
            yield int(space), units - self._starts[space], positions

    def _wire(
        self,
        source: int,
        target: int,
        units: IntArray,
        positions: IntArray,
        *,
        shortcut: bool = False,
    ) -> None:
        """Link units of a space to positions of another, pair by pair.

        One link can hold the pairs if every connected part of them is complete. If not, the first
        pair of every position makes one link, the second another, and so on.
        """
        num_units = (self.spaces[source].num_units, self.spaces[target].num_units)
        for chosen in _complete_parts(units, positions, num_units):
            parts = _connected_parts(units[chosen], positions[chosen], num_units)
            self.add_link(WiringLink(source, target, *parts, shortcut))

    def add_hub(self, operands: Sequence[torch.Tensor], name: str) -> torch.Tensor:
        """Wire every unit among the operands to one new unit and return its label, shape (1,).

        Whatever is wired from that unit is wired completely from all of them.
        """
        labels = np.unique(np.concatenate([np.unique(operand.numpy()) for operand in operands]))
        return self.units(self.space_of(torch.from_numpy(labels[labels >= 0])[None], name))

    def add_weights(
        self,
        source: int,
        name: str,
        parameter: str,
        shape: tuple[int, int, int, int],
        strides: tuple[int, int, int, int],
        offset: int,
    ) -> int:
        """Add a weighted link from a space to a new one and return the new one."""
        target = self.add_space(name, shape[0] * shape[1])
        self.add_link(WeightedLink(source, target, parameter, *shape, strides, offset))
        return target

    def add_constant(self, source: int, name: str, num_groups: int, num_targets: int) -> int:
        """Add a space to which every group of source units is wired completely."""
        num_sources = self.spaces[source].num_units
        target = self.add_space(name, num_targets)
        groups = np.arange(num_groups, dtype=np.int32)
        self.add_link(
            WiringLink(
                source,
                target,
                np.repeat(groups, num_sources // num_groups),
                np.repeat(groups, num_targets // num_groups),
            )
        )
        return target


def _connected_parts(
    units: IntArray, positions: IntArray, num_units: tuple[int, int]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Number the connected parts of a set of pairs, per source and target unit; -1 for none."""
    unit_part = np.full(num_units[0], -1, dtype=np.int32)
    position_part = np.full(num_units[1], -1, dtype=np.int32)
    unit_part[units] = units
    while True:
        # A part's number is its smallest source unit: pass it to and fro until it is stable.
        position_part[positions] = num_units[0]
        np.minimum.at(position_part, positions, unit_part[units])
        before = unit_part.copy()
        np.minimum.at(unit_part, units, position_part[positions])
        if np.array_equal(before, unit_part):
            return unit_part, position_part


def _complete_parts(
    units: IntArray, positions: IntArray, num_units: tuple[int, int]
) -> list[npt.NDArray[np.bool_]]:
    """Divide distinct pairs into sets whose connected parts are complete, one if possible."""
    unit_part, position_part = _connected_parts(units, positions, num_units)
    sizes = [
        np.bincount(part[part >= 0], minlength=num_units[0]) for part in (unit_part, position_part)
    ]
    if np.dot(*sizes) == len(units):
        return [np.ones(len(units), dtype=np.bool_)]
    order = np.lexsort((units, positions))
    first = np.searchsorted(positions[order], positions[order], side="left")
    rank = np.empty(len(units), dtype=np.int64)
    rank[order] = np.arange(len(units)) - first
    return [rank == number for number in range(rank.max() + 1)]
