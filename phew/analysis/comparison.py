"""Several methods of pruning side by side: what each leaves of a network at each density."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from phew.analysis.kept import KeptWeights, whole_masks
from phew.analysis.paths import squared_paths
from phew.analysis.summary import Analysis, analyze_graph
from phew.arguments import Selectors, as_densities, as_module
from phew.capture.graph_of import as_graph
from phew.support.devices import cpu_by_default
from phew.support.progress import progress_bar
from phew.support.results import Cells, TableOfResults
from phew.support.warn import PhewWarning


class Method(Protocol):
    """Makes masks of a model, as `phew.sample_masks` and the functions of `phew.baselines` do."""

    def __call__(
        self,
        model: nn.Module,
        example_inputs: Any,
        /,
        *,
        density: float,
        include: Selectors | None,
        exclude: Selectors,
    ) -> KeptWeights:
        """Return boolean tensors by parameter name."""


@dataclass(frozen=True)
class ComparisonRow:
    """The counts of what one method leaves at one density.

    Attributes:
        method: Label of the method.
        density: The density that was asked for.
        seconds: How long the method took, its own capture of the model included.
        analysis: The counts of what its masks leave of the network.
    """

    method: str
    density: float
    seconds: float
    analysis: Analysis

    def as_dict(self) -> dict[str, Any]:
        """The numbers as what JSON can hold."""
        return {
            "method": self.method,
            "density": self.density,
            "seconds": self.seconds,
            "analysis": self.analysis.as_dict(),
        }

    def cells(self) -> tuple[str, ...]:
        """The row as the table shows it."""
        total, log10_num_paths = self.analysis.total, self.analysis.log10_num_paths
        return (
            self.method,
            f"{100 * self.density:g}%",
            f"{total.effective_density:.2%}",
            f"{self.analysis.hidden_width:.2%}",
            f"{total.effective_width:.2%}",
            f"{self.analysis.path_kernel_trace:.3g}",
            "none" if log10_num_paths is None else f"{log10_num_paths:.1f}",
            f"{total.kept_flops:.2%}",
            f"{len(self.analysis.dead_layers)}",
            f"{self.seconds:.2f}",
        )


@dataclass(frozen=True)
class Comparison(TableOfResults):
    """The counts of what methods leave of a network.

    `print` shows them as a table, `phew.plot` as figures.

    Attributes:
        rows: A row for each method, of each density.
    """

    rows: tuple[ComparisonRow, ...]

    @property
    def methods(self) -> list[str]:
        """The labels of the methods, in their order."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @property
    def densities(self) -> list[float]:
        """The densities that were asked for, in their order."""
        return list(dict.fromkeys(row.density for row in self.rows))

    def as_dict(self) -> dict[str, Any]:
        """The numbers, those of layers included, as what JSON can hold."""
        return {"rows": [row.as_dict() for row in self.rows]}

    def __repr__(self) -> str:
        """The methods and densities, in one line."""
        densities = ", ".join(f"{100 * density:g}%" for density in self.densities)
        return f"Comparison({', '.join(self.methods)} at {densities})"

    def _cells(self, width: int | None) -> Cells:
        header = (
            *("method", "density", "effective", "hidden width", "effective width"),
            *("path kernel", "log10 paths", "FLOPs kept", "dead layers", "seconds"),
        )
        return Cells(header, [row.cells() for row in self.rows])


def compare(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    methods: Mapping[str, Method],
    densities: Sequence[float],
    include: Selectors | None = None,
    exclude: Selectors = (),
    progress: bool = False,
) -> Comparison:
    """Prune a network by several methods at several densities, and analyse what each leaves.

    Args:
        model: The model with its initial weights; it is not changed.
        example_inputs: What the model accepts (see `phew.capture`).
        methods: Functions by label: `phew.sample_masks`, those of `phew.baselines`, or others that
            take the same arguments. Bind their options by `functools.partial`.
        densities: Kept / prunable weights, each in (0, 1].
        include: What alone is to be pruned (see `phew.sample_masks`).
        exclude: What of it is not to be pruned.
        progress: Whether to draw a progress bar on standard error.

    Returns:
        The numbers; `print` shows them as a table.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If there are no methods or densities, a density is not in (0, 1], or a method
            refuses it, for example as out of reach.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 4))
        >>> methods = {"PHEW": phew.sample_masks, "magnitude": phew.baselines.magnitude}
        >>> comparison = compare(model, torch.zeros(1, 64), methods=methods, densities=[0.2, 0.1])
        >>> [(row.density, row.method) for row in comparison.rows]
        [(0.2, 'PHEW'), (0.2, 'magnitude'), (0.1, 'PHEW'), (0.1, 'magnitude')]
    """
    model = as_module(model)
    if not methods:
        raise ValueError(f"methods must hold at least one method, got {methods!r}.")
    requested = as_densities(densities)
    if not requested:
        raise ValueError(f"densities must hold at least one density, got {densities!r}.")
    graph = as_graph(model, example_inputs, include, exclude)
    with cpu_by_default():
        dense_trace = squared_paths(graph, {})
    rows: list[ComparisonRow] = []
    with progress_bar("comparing", shown=progress) as report, warnings.catch_warnings():
        # `as_graph` has warned, and the table shows dead layers: each method would warn again.
        warnings.simplefilter("ignore", PhewWarning)
        for density in requested:
            for label, method in methods.items():
                started = time.perf_counter()
                try:
                    masks = method(
                        model, example_inputs, density=density, include=include, exclude=exclude
                    )
                except ValueError as error:
                    raise ValueError(f"methods[{label!r}]: {error}") from error
                seconds = time.perf_counter() - started
                with cpu_by_default():
                    analysis = analyze_graph(graph, whole_masks(graph, masks), dense_trace)
                rows.append(ComparisonRow(label, density, seconds, analysis))
                report(len(rows) / (len(methods) * len(requested)))
    return Comparison(tuple(rows))
