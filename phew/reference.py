"""The method in plain Python: the specification that the engines must equal bit for bit.

It is obvious rather than fast. `docs/method.md` states each rule beside its function here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from phew.graph.links import WeightedLink, WiringLink
from phew.graph.reach import absent_weights
from phew.graph.walk_graph import WalkGraph
from phew.graph.weights import data_of, weights_of
from phew.walks.options import Fork, Granularity, Power
from phew.walks.shares import shares_of

FORK, EDGE = 0, 1
"""Purposes of a random number: a unit's link (counted by space), a link's edge (by link)."""

MASS_CAP = 2**56
"""Masses at a fork saturate here, so that the sum over 255 links fits in 64 bits."""


def philox4x32(
    counter: tuple[int, int, int, int], key: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return the block of Philox4x32-10 at `counter` under `key`, all 32-bit words.

    Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        low_product, high_product = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (high_product >> 32) ^ c1 ^ k0,
            high_product & 0xFFFFFFFF,
            (low_product >> 32) ^ c3 ^ k1,
            low_product & 0xFFFFFFFF,
        )
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def draw(total: int, *, seed: int, walk: int, index: int, purpose: int) -> int:
    """Draw an integer in [0, total): the high half of a 64-bit random word times the total."""
    counter = (walk & 0xFFFFFFFF, walk >> 32, index, purpose)
    block = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return ((block[1] << 32 | block[0]) * total) >> 64


class LinkMass(NamedTuple):
    """The integer masses of a link's edges; one unit of mass is worth 2 ** exponent."""

    masses: npt.NDArray[np.int64]
    exponent: int


def link_mass(magnitudes: npt.NDArray[np.float64], power: int) -> LinkMass:
    """Turn the magnitudes of a link's weights into integer masses.

    The magnitudes are scaled by a power of two so that the base of the power is near 1, raised to
    the power in float64, scaled again so that the link's largest value falls in [2^30, 2^31), and
    truncated to integers. Weights that are not zero get a mass of at least 1.

    Magnitudes 0.5, 0.25 and 0 have the masses 2^30, 2^29 and 0 at power 1, of exponent -31.
    """
    nonzero = magnitudes[magnitudes > 0]
    if power == 0:
        return LinkMass(np.full(magnitudes.shape, 2**30, dtype=np.int64), -30)
    if nonzero.size == 0:
        return LinkMass(np.zeros(magnitudes.shape, dtype=np.int64), 0)
    base = nonzero.min() if power == -1 else nonzero.max()
    if power == -1:
        magnitudes = np.where(magnitudes == 0, base, magnitudes)
    base_exponent = math.frexp(base)[1]
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.ldexp(magnitudes, -base_exponent)
        values = 1 / scaled if power == -1 else scaled**power
        shift = 31 - math.frexp(values.max())[1]
        masses = np.ldexp(values, shift).astype(np.int64)
    masses = np.where(magnitudes > 0, np.maximum(masses, 1), 0)
    return LinkMass(masses, power * base_exponent - shift)


class Edge(NamedTuple):
    """An edge seen from a unit: where it leads, its mass, the elements that its use visits."""

    unit: int
    mass: int
    visits: tuple[int, ...] = ()


class Visit(NamedTuple):
    """A weight that a hop used: an element of the contiguous parameter."""

    parameter: str
    weight: int


@dataclass
class Result:
    """Masks by parameter name, and the number of walks whose visits they are."""

    masks: dict[str, npt.NDArray[np.bool_]]
    num_walks: int


class Reference:
    """The walks of one graph under one seed and one set of options.

    Args:
        graph: The walk graph.
        seed: Key of the random numbers, in [0, 2^64).
        fork: How a walk chooses among links: "uniform", or "mass" for in proportion to the unit's
            mass.
        granularity: "weight" keeps the visited weights, "kernel" the whole kernels they are in.
        power: The bias of a walk is this power of the magnitude: 1, 0, 2 or -1.
    """

    def __init__(
        self,
        graph: WalkGraph,
        *,
        seed: int = 0,
        fork: Fork = "uniform",
        granularity: Granularity = "weight",
        power: Power = 1,
    ) -> None:
        self.graph = graph
        self.seed = seed
        self.fork = fork
        self.granularity = granularity
        self._mass = {
            index: link_mass(weights_of(graph, link).double().abs().numpy(), power)
            for index, link in graph.weighted.items()
        }
        self._is_edge = {
            index: link.is_edge.expand(link.shape).numpy() for index, link in graph.weighted.items()
        }
        self._edges: dict[tuple[int, int, bool], list[Edge]] = {}
        self._fork_mass: dict[tuple[int, int, bool], int] = {}
        self._live = self._live_units()

    def _live_units(self) -> list[npt.NDArray[np.bool_]]:
        """Flag the units that are on a path from an entry to an exit."""
        graph = self.graph
        live = [np.ones(space.num_units, dtype=bool) for space in graph.spaces]
        for backward, ends in ((False, graph.exits), (True, graph.entries)):
            leads_on = [np.zeros(space.num_units, dtype=bool) for space in graph.spaces]
            # A unit leads on if one of its edges goes to a unit that leads on. So later spaces
            # come first, or earlier ones for backward walks.
            order = range(len(graph.spaces))
            for space in order if backward else reversed(order):
                for unit in range(graph.spaces[space].num_units):
                    leads_on[space][unit] = space in ends or any(
                        leads_on[self._far_space(index, backward)][edge.unit]
                        for index in self._links(space, backward)
                        for edge in self._all_edges(index, unit, backward)
                    )
            live = [a & b for a, b in zip(live, leads_on, strict=True)]
        return live

    def _links(self, space: int, backward: bool) -> tuple[int, ...]:
        return (self.graph.backward if backward else self.graph.forward).onward[space]

    def _far_space(self, index: int, backward: bool) -> int:
        return self.graph.links[index].source if backward else self.graph.links[index].target

    def _all_edges(self, index: int, unit: int, backward: bool) -> Iterator[Edge]:
        """List the edges of a unit in a link, by the unit they lead to, then by position."""
        link = self.graph.links[index]
        if isinstance(link, WiringLink):
            near, far = link.source_groups, link.target_groups
            if backward:
                near, far = far, near
            if near[unit] >= 0:
                for other in np.flatnonzero(far == near[unit]):
                    yield Edge(int(other), mass=1)
            return
        per_group = (link.targets_per_group, link.sources_per_group)
        num_near, num_far = per_group if backward else per_group[::-1]
        group, near_index = divmod(unit, num_near)
        for far_index in range(num_far):
            target, source = (near_index, far_index) if backward else (far_index, near_index)
            at = np.array([group, target, source, 0])
            # The weights of the kernel by position; those that are absent are no edges.
            kernel = {
                k: link.offset + int(at @ link.strides) + k * link.strides[3]
                for k in range(link.num_positions)
                if self._is_edge[index][group, target, source, k]
            }
            for position, weight in kernel.items():
                yield Edge(
                    unit=group * num_far + far_index,
                    mass=int(self._mass[index].masses[group, target, source, position]),
                    visits=tuple(kernel.values()) if self.granularity == "kernel" else (weight,),
                )

    def edges(self, index: int, unit: int, *, backward: bool) -> list[Edge]:
        """Return a unit's edges in a link to live units; equal masses where all are zero."""
        key = (index, unit, backward)
        if key not in self._edges:
            live = self._live[self._far_space(index, backward)]
            edges = [edge for edge in self._all_edges(index, unit, backward) if live[edge.unit]]
            if not any(edge.mass for edge in edges):
                edges = [edge._replace(mass=1) for edge in edges]
            self._edges[key] = edges
        return self._edges[key]

    def eligible(self, space: int, unit: int, *, backward: bool) -> list[int]:
        """Return the links that a walk may take: shortcuts only where there is no other."""
        leading_on = [
            index
            for index in self._links(space, backward)
            if self.edges(index, unit, backward=backward)
        ]
        return [index for index in leading_on if not self.graph.links[index].shortcut] or leading_on

    def fork_mass(self, index: int, unit: int, *, backward: bool) -> int:
        """Return the mass of a unit in a link, in the graph's common scale, at least 1.

        In a weighted link it is the sum of the masses of the unit's edges. In a wiring link it is
        the sum over the units that the link leads to, of the masses of their own links; a unit that
        leads no further has mass 1.
        """
        key = (index, unit, backward)
        if key not in self._fork_mass:
            if isinstance(self.graph.links[index], WeightedLink):
                exponents = [mass.exponent for mass in self._mass.values() if mass.masses.any()]
                live = self._live[self._far_space(index, backward)]
                total = sum(
                    edge.mass for edge in self._all_edges(index, unit, backward) if live[edge.unit]
                )
                mass = total >> (max(exponents) - self._mass[index].exponent) if total else 0
            else:
                space = self._far_space(index, backward)
                mass = 0
                for edge in self.edges(index, unit, backward=backward):
                    onward = self.eligible(space, edge.unit, backward=backward)
                    mass += (
                        sum(self.fork_mass(link, edge.unit, backward=backward) for link in onward)
                        or 1
                    )
            self._fork_mass[key] = min(max(mass, 1), MASS_CAP)
        return self._fork_mass[key]

    def _draw(self, masses: list[int], *, walk: int, index: int, purpose: int) -> int:
        """Draw a position with a probability in proportion to its mass."""
        if sum(masses) >= 2**64:
            raise ValueError(
                "fork must be 'uniform' where the masses of a unit's links add up to 2^64 or more, "
                "got 'mass'."
            )
        value = draw(sum(masses), seed=self.seed, walk=walk, index=index, purpose=purpose)
        return int(
            np.searchsorted(
                np.cumsum(np.array(masses, dtype=np.uint64)), np.uint64(value), side="right"
            )
        )

    def start(self, walk: int) -> tuple[int, int]:
        """Return the space and unit that a walk starts on: live entry (exit) units in turn."""
        ends = self.graph.exits if walk % 2 else self.graph.entries
        units = [(space, int(unit)) for space in ends for unit in np.flatnonzero(self._live[space])]
        return units[walk // 2 % len(units)]

    def walk(self, number: int) -> list[Visit]:
        """Return the visits of a walk: forward if its number is even, else backward."""
        backward = number % 2 == 1
        space, unit = self.start(number)
        visits = []
        while links := self.eligible(space, unit, backward=backward):
            if self.fork == "mass":
                masses = [self.fork_mass(index, unit, backward=backward) for index in links]
            else:
                masses = [1] * len(links)
            index = links[self._draw(masses, walk=number, index=space, purpose=FORK)]
            edges = self.edges(index, unit, backward=backward)
            edge = edges[
                self._draw([edge.mass for edge in edges], walk=number, index=index, purpose=EDGE)
            ]
            link = self.graph.links[index]
            if isinstance(link, WeightedLink) and link.parameter in self.graph.prunable:
                visits += [Visit(link.parameter, weight) for weight in edge.visits]
            space, unit = self._far_space(index, backward), edge.unit
        return visits

    def sample_masks(
        self, density: float, layer_densities: Mapping[str, float] | None = None
    ) -> Result:
        """Return the union of the visits of the fewest walks that keep round(density * weights).

        Where parameters have densities of their own, that holds of the weights of each share.

        Args:
            density: Kept / prunable weights, in (0, 1]; it must be within reach of the walks.
            layer_densities: Other densities by pattern (see `phew.sample_masks`).
        """
        visited: set[Visit] = set()
        most_walks = 0
        for share in shares_of(self.graph, density, layer_densities or {}):
            parameters = share.parameters or self.graph.prunable
            if share.is_whole:
                visited |= self._all_weights(parameters)
            else:
                of_share, num_walks = self._visits_to(parameters, share.density)
                visited |= of_share
                most_walks = max(most_walks, num_walks)
        return Result(self._masks(visited), most_walks)

    def _visits_to(self, parameters: tuple[str, ...], density: float) -> tuple[set[Visit], int]:
        """Return the visits of the fewest walks to so many weights of some parameters."""
        num_weights = sum(self.graph.parameters[name].numel() for name in parameters)
        target = round(density * num_weights)
        visited: set[Visit] = set()
        for num_walks in count():
            if len(visited) >= target:
                return visited, num_walks
            visited.update(visit for visit in self.walk(num_walks) if visit.parameter in parameters)
        raise AssertionError("unreachable: count() has no end")

    def _all_weights(self, parameters: tuple[str, ...]) -> set[Visit]:
        """Return all weights of some parameters that no constant of the model zeroes."""
        absent = absent_weights(self.graph)
        weights: set[Visit] = set()
        for name in parameters:
            parameter = self.graph.parameters[name]
            is_absent = absent.get(name, torch.zeros(parameter.shape, dtype=torch.bool))
            elements = (~is_absent).flatten().nonzero().flatten().tolist()
            weights.update(Visit(name, element) for element in elements)
        return weights

    def _masks(self, visited: set[Visit]) -> dict[str, npt.NDArray[np.bool_]]:
        masks = {
            name: np.zeros(self.graph.parameters[name].shape, dtype=bool)
            for name in self.graph.prunable
        }
        for parameter, weight in visited:
            masks[parameter].reshape(-1)[weight] = True
        for parameter, dims in self.graph.notes.normalised.items():
            if parameter in masks:
                self._keep_rows(masks[parameter], parameter, dims)
        return masks

    def _keep_rows(
        self, mask: npt.NDArray[np.bool_], parameter: str, dims: tuple[int, ...]
    ) -> None:
        """Keep the largest weight of each row that a norm divides and that has kept none."""
        magnitudes = data_of(self.graph, parameter).double().abs()
        absent = absent_weights(self.graph).get(parameter)
        if absent is not None:
            magnitudes = magnitudes.masked_fill(absent, -1)
        sizes = [1 if dim in dims else size for dim, size in enumerate(mask.shape)]
        for row in np.ndindex(*sizes):
            along = tuple(slice(None) if dim in dims else row[dim] for dim in range(mask.ndim))
            if not mask[along].any() and (magnitudes[along] >= 0).any():
                largest = np.unravel_index(int(magnitudes[along].argmax()), mask[along].shape)
                mask[along][largest] = True
