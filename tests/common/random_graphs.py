"""Random walk graphs: forks, joins, shortcuts, groups, zero, absent and tied weights, dtypes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phew.graph import Link, Space, WalkGraph, WeightedLink, WiringLink

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def random_graph(rng: np.random.Generator) -> WalkGraph:
    """Draw a graph of 3 to 8 small spaces with a path from an entry to an exit."""
    while True:
        graph = _draw_graph(rng)
        if any(graph.live[space].any() for space in graph.entries) and graph.prunable:
            return graph


def _draw_graph(rng: np.random.Generator) -> WalkGraph:
    num_spaces = int(rng.integers(3, 9))
    sizes = [0 if rng.random() < 0.02 else int(rng.integers(1, 13)) for _ in range(num_spaces)]
    pairs = [(int(rng.integers(0, target)), target) for target in range(1, num_spaces)]
    for _ in range(int(rng.integers(0, num_spaces))):
        source, target = sorted(rng.choice(num_spaces, size=2, replace=False).tolist())
        pairs.append((source, target))
    parameters: dict[str, torch.Tensor] = {}
    links = [_draw_link(rng, source, target, sizes, parameters) for source, target in pairs]
    links = [_take_edges_out(rng, link, parameters) for link in links]
    return WalkGraph(
        spaces=tuple(Space(f"space{index}", size) for index, size in enumerate(sizes)),
        links=tuple(links),
        entries=tuple(range(int(rng.integers(1, 3)))),
        exits=tuple(range(num_spaces - int(rng.integers(1, 3)), num_spaces)),
        parameters=parameters,
        prunable=tuple(name for name in parameters if rng.random() < 0.9),
    )


def _draw_link(
    rng: np.random.Generator,
    source: int,
    target: int,
    sizes: list[int],
    parameters: dict[str, torch.Tensor],
) -> Link:
    shortcut = bool(rng.random() < 0.2)
    if rng.random() < 0.3:
        return _draw_wiring(rng, source, target, sizes, shortcut)
    common = [g for g in (1, 1, 2, 3, 4) if sizes[source] % g == 0 and sizes[target] % g == 0]
    groups = int(rng.choice(common))
    targets, sources = sizes[target] // groups, sizes[source] // groups
    positions = int(rng.choice([1, 1, 2, 3, 9]))
    strides, shape = {
        "convolution": (
            (targets * sources * positions, sources * positions, positions, 1),
            (groups * targets, sources, positions),
        ),
        "transposed": (
            (sources * targets * positions, positions, targets * positions, 1),
            (groups * sources, targets, positions),
        ),
        "positions first": (
            (targets * sources, sources, 1, groups * targets * sources),
            (positions, groups * targets, sources),
        ),
    }[str(rng.choice(["convolution", "convolution", "transposed", "positions first"]))]
    same_size = [
        name for name, weight in parameters.items() if weight.numel() == int(np.prod(shape))
    ]
    if same_size and rng.random() < 0.5:
        name = same_size[0]
        offset = 0
    else:
        name = f"weight{len(parameters)}"
        offset = int(rng.integers(1, 5)) if rng.random() < 0.2 else 0
        parameters[name] = _draw_parameter(rng, shape, offset)
    return WeightedLink(
        source, target, name, groups, targets, sources, positions, strides, offset, shortcut
    )


def _take_edges_out(
    rng: np.random.Generator, link: Link, parameters: dict[str, torch.Tensor]
) -> Link:
    """Take edges out of some weighted links: single ones, and all of some rows of the parameter."""
    if isinstance(link, WiringLink) or rng.random() < 0.7:
        return link
    shape = parameters[link.parameter].shape
    absent = rng.random(shape) < rng.choice([0.1, 0.5, 0.9])
    absent[rng.random(shape[0]) < 0.3] = True
    return replace(link, absent=torch.from_numpy(absent))


def _draw_parameter(rng: np.random.Generator, shape: tuple[int, ...], offset: int) -> torch.Tensor:
    dtype = DTYPES[int(rng.integers(len(DTYPES)))]
    scale = {torch.float16: 1.0, torch.float64: float(rng.choice([1.0, 1e-300, 1e300]))}.get(
        dtype, float(rng.choice([1.0, 1e-35, 1e35]))
    )
    values = rng.standard_normal(shape) * scale
    values[rng.random(shape) < rng.choice([0.0, 0.3, 0.9, 1.0], p=[0.6, 0.2, 0.15, 0.05])] = 0
    if rng.random() < 0.2:
        values *= 10.0 ** rng.integers(-12, 1, size=shape)
    weight = torch.from_numpy(values).to(dtype)
    if offset:
        weight = torch.cat([torch.ones(offset, dtype=dtype), weight.flatten()])
    elif rng.random() < 0.3:
        weight = weight.transpose(0, 1).contiguous().transpose(0, 1)
    return weight


def _draw_wiring(
    rng: np.random.Generator, source: int, target: int, sizes: list[int], shortcut: bool
) -> WiringLink:
    num_sources, num_targets = sizes[source], sizes[target]
    num_groups = int(rng.integers(1, 8))
    source_groups: npt.NDArray[Any] = rng.integers(-1, num_groups, size=num_sources)
    target_groups: npt.NDArray[Any] = rng.integers(-1, num_groups, size=num_targets)
    if rng.random() < 0.3:
        source_groups, target_groups = np.zeros(num_sources), np.zeros(num_targets)
    elif rng.random() < 0.5:
        source_groups = np.arange(num_sources)
        target_groups = np.arange(num_targets) * max(num_sources, 1) // max(num_targets, 1)
    return WiringLink(
        source, target, source_groups.astype(np.int32), target_groups.astype(np.int32), shortcut
    )
