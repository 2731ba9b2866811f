"""Counts of what masks leave of a network, and the table that shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from phew.analysis.connectivity import effective_weights
from phew.analysis.kept import KeptWeights, whole_masks
from phew.analysis.paths import Scaled, counted_paths, squared_paths, total_at_exits
from phew.capture.graph_of import as_graph
from phew.graph.links import Units, WeightedLink
from phew.graph.reach import active_units, units_led_to
from phew.graph.walk_graph import WalkGraph
from phew.support.devices import cpu_by_default
from phew.support.results import Cells, TableOfResults


@dataclass(frozen=True)
class LayerAnalysis:
    """The counts of what masks leave of one parameter, or of all.

    Attributes:
        parameter: Name of the parameter, "total" for all.
        num_weights: Weights under a mask.
        num_kept: Kept weights.
        num_effective: Kept weights on a path from the input to the output over kept weights.
        num_units: Units that the weights lead to, those of repeated time steps once.
        num_active_units: Units with a kept incoming weight: the width that is left.
        num_effective_units: Units on a path over kept weights.
        num_flops: Floating-point operations of the weights in the run that was captured, a
            multiplication and an addition each time that one is used.
        num_kept_flops: Floating-point operations of kept weights.
    """

    parameter: str
    num_weights: int
    num_kept: int
    num_effective: int
    num_units: int
    num_active_units: int
    num_effective_units: int
    num_flops: float
    num_kept_flops: float

    @property
    def density(self) -> float:
        """Kept weights / weights; 1 where there are none."""
        return _share(self.num_kept, self.num_weights)

    @property
    def effective_density(self) -> float:
        """Kept weights on a path / weights."""
        return _share(self.num_effective, self.num_weights)

    @property
    def active_width(self) -> float:
        """Units with a kept incoming weight / units."""
        return _share(self.num_active_units, self.num_units)

    @property
    def effective_width(self) -> float:
        """Units on a path / units."""
        return _share(self.num_effective_units, self.num_units)

    @property
    def kept_flops(self) -> float:
        """Floating-point operations of kept weights / of all."""
        return _share(self.num_kept_flops, self.num_flops)

    def as_dict(self) -> dict[str, Any]:
        """The numbers as what JSON can hold."""
        return asdict(self) | {
            "density": self.density,
            "effective_density": self.effective_density,
            "active_width": self.active_width,
            "effective_width": self.effective_width,
            "kept_flops": self.kept_flops,
        }


@dataclass(frozen=True)
class Analysis(TableOfResults):
    """The counts of what masks leave of a network. `print` shows them as a table.

    Attributes:
        layers: The counts of each parameter under a mask.
        path_kernel_trace: The trace of the path kernel / that of the dense network.
        log10_num_paths: The logarithm of the number of paths from the input to the output over
            kept weights; None where there is none.
        hidden_width: Active units / units, of all that lead to further weights.
        dead_layers: Parameters of which no kept weight lies on a path though some could. Where all
            weights of one are pruned, this is layer collapse.
    """

    layers: tuple[LayerAnalysis, ...]
    path_kernel_trace: float
    log10_num_paths: float | None
    hidden_width: float
    dead_layers: tuple[str, ...]

    @cached_property
    def total(self) -> LayerAnalysis:
        """The sum over layers."""
        names = [name for name in LayerAnalysis.__dataclass_fields__ if name != "parameter"]
        sums = {name: sum(getattr(layer, name) for layer in self.layers) for name in names}
        return LayerAnalysis("total", **sums)

    def as_dict(self) -> dict[str, Any]:
        """The numbers as what JSON can hold."""
        return {
            "layers": [layer.as_dict() for layer in self.layers],
            "total": self.total.as_dict(),
            "hidden_width": self.hidden_width,
            "path_kernel_trace": self.path_kernel_trace,
            "log10_num_paths": self.log10_num_paths,
            "dead_layers": list(self.dead_layers),
        }

    def __repr__(self) -> str:
        """The numbers of the whole network, in one line."""
        return f"Analysis({'; '.join([f'density {self.total.density:.2%}', *self._remarks()])})"

    def _cells(self, width: int | None) -> Cells:
        header = ("parameter", "density", "effective", "active units", "effective", "FLOPs kept")
        *rows, total = (
            (
                layer.parameter,
                f"{layer.density:.2%}",
                f"{layer.effective_density:.2%}",
                f"{layer.num_active_units:,} / {layer.num_units:,}",
                f"{layer.num_effective_units:,}",
                f"{layer.kept_flops:.2%}",
            )
            for layer in (*self.layers, self.total)
        )
        return Cells(header, rows, total)

    def _remarks(self) -> list[str]:
        """Return what is known of the whole network."""
        paths = "none" if self.log10_num_paths is None else f"10^{self.log10_num_paths:.1f}"
        return [
            f"path kernel trace: {self.path_kernel_trace:.3g} of the dense network's",
            f"paths from input to output: {paths}",
            f"dead layers: {', '.join(self.dead_layers) or 'none'}",
        ]


def analyze(
    model: nn.Module | WalkGraph, example_inputs: Any = None, *, masks: KeptWeights
) -> Analysis:
    """Count what masks leave of a network: weights, width, paths and operations.

    Args:
        model: The model with its initial weights, or the graph that `phew.capture` made of it.
        example_inputs: What the model accepts (see `phew.capture`).
        masks: Boolean tensors by parameter name; weights without a mask are kept. Where weights or
            masks are sharded, all ranks make the call.

    Returns:
        The numbers; `print` shows them as a table.

    Raises:
        TypeError: If a mask is not a bool tensor.
        ValueError: If masks do not fit the model.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.Linear(6, 4))
        >>> masks = phew.sample_masks(model, torch.zeros(1, 8), density=0.25)
        >>> analysis = analyze(model, torch.zeros(1, 8), masks=masks)
        >>> analysis.total.effective_density == masks.density
        True
        >>> analysis.dead_layers
        ()
    """
    graph = as_graph(model, example_inputs)
    masks = whole_masks(graph, masks)
    with cpu_by_default():
        return analyze_graph(graph, masks, squared_paths(graph, {}))


def analyze_graph(graph: WalkGraph, masks: KeptWeights, dense_trace: Scaled) -> Analysis:
    """Count what whole masks leave of a graph, given the path kernel trace without masks."""
    from_entries = counted_paths(graph, masks)
    to_exits = counted_paths(graph, masks, backward=True)
    effective = effective_weights(graph, masks, from_entries, to_exits)
    on_path = [
        ((a.values > 0) & (b.values > 0)).view(-1).numpy()
        for a, b in zip(from_entries, to_exits, strict=True)
    ]
    links = {name: [graph.weighted[index] for index in graph.links_of[name]] for name in masks}
    active = active_units(graph, masks)
    layers = [
        _analyze_layer(name, mask, effective[name], links[name], active, on_path)
        for name, mask in masks.items()
    ]
    hidden = _spaces_before_weights(graph)
    hidden_layers = [
        layer for layer in layers if any(link.target in hidden for link in links[layer.parameter])
    ]
    return Analysis(
        tuple(layers),
        squared_paths(graph, masks).over(dense_trace),
        total_at_exits(graph, from_entries).log10(),
        _share(
            sum(layer.num_active_units for layer in hidden_layers),
            sum(layer.num_units for layer in hidden_layers),
        ),
        tuple(
            name
            for name in masks
            if not effective[name].any() and _may_be_reached(graph, links[name])
        ),
    )


def _analyze_layer(
    name: str,
    mask: torch.Tensor,
    effective: torch.Tensor,
    links: list[WeightedLink],
    active: list[Units],
    on_path: list[Units],
) -> LayerAnalysis:
    """Count what is left of one parameter, whose weights are in these links."""
    return LayerAnalysis(
        name,
        num_weights=mask.numel(),
        num_kept=int(mask.count_nonzero()),
        num_effective=int(effective.count_nonzero()),
        num_units=_count_units(links, [np.ones_like(units) for units in active]),
        num_active_units=_count_units(links, active),
        num_effective_units=_count_units(links, on_path),
        # Each element of a parameter is used as often as its links use it.
        num_flops=2 * sum(link.num_uses * math.prod(link.shape) for link in links),
        num_kept_flops=2
        * sum(link.num_uses * int(link.view(mask).count_nonzero()) for link in links),
    )


def _count_units(links: list[WeightedLink], units: Sequence[Units]) -> int:
    """Count the flagged units that links lead to."""
    return int(units_led_to(links, units).sum())


def _spaces_before_weights(graph: WalkGraph) -> set[int]:
    """Return the spaces from which weights lead on, at once or after wiring."""
    spaces: set[int] = set()
    for space in graph.backward.order:
        for index in graph.backward.onward[space]:
            if index in graph.weighted or space in spaces:
                spaces.add(graph.links[index].source)
    return spaces


def _may_be_reached(graph: WalkGraph, links: list[WeightedLink]) -> bool:
    """Return whether some weight of these links lies on a path in the dense network."""
    return any(
        bool((link.reach(graph.live[link.source]) & graph.live[link.target]).any())
        for link in links
    )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 1.0
