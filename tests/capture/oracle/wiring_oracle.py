"""The wiring between weighted operations as autograd sees it, which knows nothing of capture."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from positive_shadow import Shadow, WeightedOperation, double
from recorded_calls import record
from torch import Tensor, nn

from phew.graph import Units, WalkGraph, WeightedLink


class AutogradWiring:
    """The units that weighted operations hand to each other, in the order of their calls.

    The result of every weighted operation is cut off from what made it.

    Attributes:
        parameters: Name of the parameter of each operation.
    """

    def __init__(
        self, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
    ) -> None:
        model = copy.deepcopy(model).eval()
        recorder, _ = record(model, args, kwargs or {})
        generator = torch.Generator().manual_seed(0)
        self._values = {
            name: (torch.rand(parameter.shape, generator=generator) + 0.5).to(double(parameter))
            for name, parameter in model.named_parameters()
        }
        self._operations: list[WeightedOperation] = []
        self._outputs: list[Tensor] = []
        shadow = Shadow(model, (args, kwargs), recorder, self._values, self._cut)
        self._entries = shadow.entries
        self.parameters = [operation.parameter for operation in self._operations]

    def _cut(self, operation: WeightedOperation) -> Tensor:
        output = torch.ones_like(operation.compute()).requires_grad_()
        self._operations.append(operation)
        self._outputs.append(output)
        return output.clone()

    def num_inputs(self, index: int) -> int:
        """Return the number of input units of an operation."""
        return len(self._operations[index].inputs_by_unit())

    def unit_of_link(self, index: int, link: WeightedLink) -> npt.NDArray[np.intp]:
        """Return for each input unit of an operation the unit of a link that has its weights.

        Several axes that a product sums over together may be counted in either order.
        """
        operation = self._operations[index]
        if operation.side == "kernel":
            return np.arange(self.num_inputs(index))
        expected = operation.sums_by_unit().real.numpy()
        captured = link.view(self._values[link.parameter]).sum((1, 3)).real.flatten().numpy()
        units = np.empty(len(expected), dtype=np.intp)
        units[expected.argsort()] = captured.argsort()
        ratios = captured[units] / expected  # weights are scaled where they are computed
        np.testing.assert_allclose(ratios, ratios[0], err_msg=link.parameter)
        return units

    def sources(self, index: int, unit: int) -> dict[int, Units]:
        """Return on which output units of which operations an input unit depends."""
        inputs = self._operations[index].inputs_by_unit()[unit]
        if not inputs.requires_grad:
            return {}
        coefficients = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(1)) + 0.5
        total = (inputs * coefficients.double()).sum()
        gradients = torch.autograd.grad(
            total.real, self._outputs, retain_graph=True, allow_unused=True
        )
        found = {}
        for first, gradient in enumerate(gradients):
            if gradient is not None:
                assert gradient.isfinite().all()
                units = (self._operations[first].outputs_by_unit(gradient) != 0).any(dim=1)
                if units.any():
                    found[first] = units.numpy()
        return found

    def is_fed(self, index: int, unit: int) -> bool:
        """Return whether an input unit depends on the model's input with no weights between."""
        inputs = self._operations[index].inputs_by_unit()[unit]
        if not inputs.requires_grad or not self._entries:
            return False
        gradients = torch.autograd.grad(
            inputs.sum().real, self._entries, retain_graph=True, allow_unused=True
        )
        return any(gradient is not None and bool(gradient.any()) for gradient in gradients)


def graph_sources(graph: WalkGraph, index: int, unit: int) -> dict[int, Units]:
    """Return the same for a walk graph, whose weighted links are in the order of the calls."""
    links = [link for link in graph.links if isinstance(link, WeightedLink)]
    reached = units_before(graph, links[index].source, unit)
    return {
        first: reached[link.target]
        for first, link in enumerate(links)
        if link.target in reached and reached[link.target].any()
    }


def units_before(graph: WalkGraph, start: int, unit: int) -> dict[int, Units]:
    """Return which units of each space lead to a unit through wiring alone."""
    reached = {start: np.arange(graph.spaces[start].num_units) == unit}
    for space in range(start, -1, -1):
        if space in reached:
            for number in graph.backward.onward[space]:
                link = graph.links[number]
                if not isinstance(link, WeightedLink):
                    units = link.reach(reached[space], backward=True)
                    reached[link.source] = reached.get(link.source, False) | units
    return reached


def assert_wired_like_autograd(
    graph: WalkGraph,
    model: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    max_units: int | None = None,
) -> None:
    """Check a captured graph against the oracle.

    Args:
        graph: The graph of the model and inputs.
        model: The model.
        args: Its positional inputs.
        kwargs: Its keyword inputs.
        max_units: How many input units of each operation are checked at most, drawn at random.
    """
    oracle = AutogradWiring(model, args, kwargs)
    links = [link for link in graph.links if isinstance(link, WeightedLink)]
    assert [link.parameter for link in links] == oracle.parameters
    random = np.random.default_rng(0)
    for index, link in enumerate(links):
        num_units = oracle.num_inputs(index)
        assert graph.spaces[link.source].num_units == num_units, link.parameter
        unit_of_link = oracle.unit_of_link(index, link)
        for unit in map(int, random.permutation(num_units)[:max_units]):
            expected = oracle.sources(index, unit)
            captured = graph_sources(graph, index, unit_of_link[unit])
            assert captured.keys() == expected.keys(), (link.parameter, unit)
            for first, sources in expected.items():
                pair = (oracle.parameters[first], link.parameter, unit)
                np.testing.assert_array_equal(captured[first], sources, err_msg=str(pair))
            if oracle.is_fed(index, unit):
                before = units_before(graph, link.source, unit_of_link[unit])
                fed = [space for space in graph.entries if space in before and before[space].any()]
                assert fed, (link.parameter, unit)
