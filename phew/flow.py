"""The exact flow: expected visits of every edge, computed without sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from phew.graph import Groups, Link, WalkGraph, WeightedLink, WiringLink
from phew.options import Fork, Power

LEAST_VALUE = 2.0**-31
"""One unit of integer mass, relative to a link's largest value."""


@dataclass(frozen=True)
class Flow:
    """The expected passages of one walk of one direction.

    Attributes:
        units: Per space, the probability that a walk passes each unit, float64.
        links: Per link, the probability that a walk takes it from each unit on its near side,
            float64.
        totals: Per weighted link, the sum of powers of magnitudes over each near unit's edges to
            live units.
        scales: Per weighted link, the magnitude that the powers are relative to.
    """

    units: list[torch.Tensor]
    links: list[torch.Tensor]
    totals: dict[int, torch.Tensor]
    scales: dict[int, float]


def exact_flow(
    graph: WalkGraph, *, backward: bool, fork: Fork = "uniform", power: Power = 1
) -> Flow:
    """Pass probability through the links, from the live entries (exits) on.

    Args:
        graph: The walk graph, its parameters finite.
        backward: Whether walks run from the exits to the entries.
        fork: How a walk chooses among links.
        power: The power of the magnitude that an edge is chosen by.

    Returns:
        The flow; a space's probabilities sum to the share of the walks that pass through it.
    """
    return _FlowPass(graph, backward, fork, power).run()


class _FlowPass:
    def __init__(self, graph: WalkGraph, backward: bool, fork: Fork, power: Power) -> None:
        self.graph, self.backward, self.power = graph, backward, power
        self.live = [torch.from_numpy(units) for units in graph.live]
        self.units = [torch.zeros(space.num_units, dtype=torch.float64) for space in graph.spaces]
        self.links: list[torch.Tensor] = [torch.empty(0)] * len(graph.links)
        self.totals: dict[int, torch.Tensor] = {}
        self.scales: dict[int, float] = {}
        self.onward = graph.links_into if backward else graph.links_from
        self.fork_masses = self._fork_masses() if fork == "mass" else None

    def run(self) -> Flow:
        graph = self.graph
        ends = graph.exits if self.backward else graph.entries
        num_starts = sum(int(self.live[space].sum()) for space in ends)
        for space in ends:
            self.units[space] = self.live[space].double() / max(num_starts, 1)
        order = range(len(graph.spaces))
        for space in reversed(order) if self.backward else order:
            for index, share in self._fork_shares(space).items():
                self.links[index] = self.units[space] * share
                self.units[self._far(index)] += self._across(index)
        return Flow(self.units, self.links, self.totals, self.scales)

    def _far(self, index: int) -> int:
        link = self.graph.links[index]
        return link.source if self.backward else link.target

    def _eligible(self, space: int) -> dict[int, torch.Tensor]:
        """Per link that leads on from a space, the units at which it may be taken."""
        leads_on = {
            index: self._has_edge(self.graph.links[index], self.live[self._far(index)])
            for index in self.onward[space]
        }
        main = torch.zeros(self.graph.spaces[space].num_units, dtype=torch.bool)
        for index, units in leads_on.items():
            if not self.graph.links[index].shortcut:
                main |= units
        return {
            index: units & ~main if self.graph.links[index].shortcut else units
            for index, units in leads_on.items()
        }

    def _has_edge(self, link: Link, live_far: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(link.reach(live_far.numpy(), backward=not self.backward))

    def _fork_shares(self, space: int) -> dict[int, torch.Tensor]:
        eligible = self._eligible(space)
        shares = {
            index: units.double() * (1 if self.fork_masses is None else self.fork_masses[index])
            for index, units in eligible.items()
        }
        total = sum(shares.values(), torch.zeros(self.graph.spaces[space].num_units))
        return {index: share / total.clamp(min=1e-300) for index, share in shares.items()}

    def _across(self, index: int) -> torch.Tensor:
        """Pass a link's probability on to its far units."""
        link, flow = self.graph.links[index], self.links[index]
        live = self.live[self._far(index)]
        if isinstance(link, WiringLink):
            near, far = _near_far_groups(link, self.backward)
            members = _per_group(link, far, live.double())
            per_group = _per_group(link, near, flow) / members.clip(min=1)
            return live * torch.from_numpy(np.append(per_group, 0.0)[far])
        masses = self._channel_masses(index, link)
        totals = masses.sum(dim=2)
        self.totals[index] = totals.flatten()
        # Where all edges are zero they are chosen uniformly.
        uniform = live.view(link.num_groups, 1, -1).double()
        ratio = flow.view(totals.shape)
        by_mass = torch.where(totals > 0, ratio / totals, 0.0)
        by_number = torch.where(totals > 0, 0.0, ratio / uniform.sum(dim=2).clamp(min=1))
        far_flow = torch.einsum("gnf,gn->gf", masses, by_mass)
        return (far_flow + uniform[:, 0] * by_number.sum(dim=1, keepdim=True)).flatten()

    def _channel_masses(self, index: int, link: WeightedLink) -> torch.Tensor:
        """Sum over kernel positions: shape (num_groups, near, far), zero to dead units."""
        weights = self.graph.weights_of(link)
        self.scales[index] = _scale(weights, self.power)
        masses = _raised(weights, self.power, self.scales[index]).sum(dim=3, dtype=torch.float64)
        if not self.backward:
            masses = masses.transpose(1, 2)
        far = link.source if self.backward else link.target
        return masses * self.live[far].view(link.num_groups, 1, -1)

    def _fork_masses(self) -> dict[int, torch.Tensor]:
        """Per link, the mass of each near unit at a fork (see `Reference.fork_mass`)."""
        masses: dict[int, torch.Tensor] = {}
        logs: dict[int, float] = {}
        for index, link in enumerate(self.graph.links):
            if isinstance(link, WeightedLink):
                masses[index] = self._channel_masses(index, link).sum(dim=2).flatten()
                if self.graph.weights_of(link).count_nonzero():
                    logs[index] = self.power * math.log2(self.scales[index])
        # All in the scale of the link with the largest value, and at least one unit of it.
        largest = max(logs.values(), default=0.0)
        self.least_mass = 2.0 ** (math.floor(largest) - 30 - largest)
        for index, mass in masses.items():
            mass.mul_(2.0 ** (logs.get(index, largest) - largest)).clamp_(min=self.least_mass)
        order = range(len(self.graph.spaces))
        for space in order if self.backward else reversed(order):
            for index in self.onward[space]:
                if index not in masses:
                    masses[index] = self._mass_behind(index, masses)
        return masses

    def _mass_behind(self, index: int, masses: dict[int, torch.Tensor]) -> torch.Tensor:
        """Sum the masses of the units that a wiring link leads to, per near unit."""
        link, far = self.graph.links[index], self._far(index)
        assert isinstance(link, WiringLink)
        behind = torch.zeros(self.graph.spaces[far].num_units, dtype=torch.float64)
        for onward, units in self._eligible(far).items():
            behind += units * masses[onward]
        behind.clamp_(min=self.least_mass)
        near_groups, far_groups = _near_far_groups(link, self.backward)
        per_group = _per_group(link, far_groups, behind * self.live[far])
        return torch.from_numpy(np.append(per_group, 0.0)[near_groups])


def _per_group(link: WiringLink, groups: Groups, values: torch.Tensor) -> npt.NDArray[np.float64]:
    """Sum the values of each group's units."""
    # Bin 0 takes the units without a group (-1).
    bins = np.bincount(groups + 1, values.numpy(), minlength=link.num_groups + 1)
    return bins[1:].astype(np.float64)


def _near_far_groups(link: WiringLink, backward: bool) -> tuple[Groups, Groups]:
    groups = (link.source_groups, link.target_groups)
    return groups[::-1] if backward else groups


def _magnitudes(weights: torch.Tensor) -> torch.Tensor:
    return weights.abs().to(torch.promote_types(weights.dtype, torch.float32))


def _scale(weights: torch.Tensor, power: Power) -> float:
    """Return the magnitude whose power is the largest, 1 where all are zero."""
    magnitudes = _magnitudes(weights)
    largest = float(magnitudes.max()) if weights.numel() else 0.0
    if power == 0 or largest == 0.0:
        return 1.0
    return largest if power > 0 else float(magnitudes[magnitudes > 0].min())


def _raised(weights: torch.Tensor, power: Power, scale: float) -> torch.Tensor:
    """Raise magnitudes, relative to `scale`, to a power; what is not zero has at least one unit."""
    if power == 0:
        return torch.ones_like(weights, dtype=torch.float32)
    magnitudes = _magnitudes(weights)
    # As a tensor: dividing by a Python number multiplies by its reciprocal, which may overflow.
    divisor = torch.tensor(scale, dtype=magnitudes.dtype)
    if power == -1:
        values = divisor / magnitudes.clamp(min=scale)
        return values.clamp(min=LEAST_VALUE) * magnitudes.any()
    ratios = magnitudes / divisor
    values = ratios if power == 1 else ratios.double().square()
    return values.clamp_(min=LEAST_VALUE) * (magnitudes > 0)


def edge_probabilities(
    graph: WalkGraph,
    index: int,
    flow: Flow,
    *,
    backward: bool,
    power: Power = 1,
    every: int = 1,
) -> torch.Tensor:
    """Return the probability that a walk uses each edge of a weighted link.

    Args:
        graph: The walk graph.
        index: Index of a weighted link.
        flow: The exact flow of the same direction and power.
        backward: The direction.
        power: The power of the magnitude that an edge is chosen by.
        every: Take every so many target units of a group, as a sample.

    Returns:
        Probabilities, float64, in the shape of the link's view (of every so many targets).
    """
    link = graph.links[index]
    if not isinstance(link, WeightedLink):
        raise TypeError(f"index must be that of a weighted link, got {index}, a wiring link.")
    groups = link.num_groups
    near_shape, far_shape = (groups, 1, -1, 1), (groups, -1, 1, 1)
    far = link.target
    if backward:
        near_shape, far_shape, far = far_shape, near_shape, link.source
    live = torch.from_numpy(graph.live[far]).view(far_shape)
    num_edges = live.view(groups, -1).sum(dim=1).view(groups, 1, 1, 1) * link.num_positions
    totals = flow.totals[index].view(near_shape)
    empty = totals == 0
    rate = flow.links[index].view(near_shape) / torch.where(empty, num_edges.clamp(min=1), totals)
    weights = graph.weights_of(link)[:, ::every]
    masses = _raised(weights, power, flow.scales[index]).double()
    if backward:
        rate, empty = rate[:, ::every], empty[:, ::every]
    else:
        live = live[:, ::every]
    return torch.where(empty, 1.0, masses) * live * rate
