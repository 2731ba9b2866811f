"""Walks on a CUDA device: the same as on the CPU, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from random_graphs import DTYPES, random_graph
from torch import nn

import phew
from phew.graph import WalkGraph, WeightedLink
from phew.models import NETWORKS
from phew.walks.cpu_engine import CpuEngine
from phew.walks.cuda_engine import CudaEngine
from phew.walks.devices import built_with_cuda
from phew.walks.engine import make_engine
from phew.walks.options import Options
from phew.walks.sampler import Sampler

OPTIONS = [
    {"fork": fork, "granularity": granularity, "power": power}
    for fork, granularity, power in product(
        ("uniform", "mass"), ("weight", "kernel"), (1, 0, 2, -1)
    )
]
CPU = torch.device("cpu")
CUDA = torch.device("cuda", 0)

needs_cuda = pytest.mark.skipif(
    not (built_with_cuda and torch.cuda.is_available()), reason="needs phew with CUDA and a device"
)
pytestmark = [pytest.mark.cuda, needs_cuda]


def on_device(graph: WalkGraph, device: torch.device = CUDA) -> WalkGraph:
    return replace(
        graph, parameters={name: data.to(device) for name, data in graph.parameters.items()}
    )


def zeros(graph: WalkGraph, dtype: torch.dtype, device: torch.device) -> dict[str, torch.Tensor]:
    return {
        name: torch.zeros(graph.parameters[name].shape, dtype=dtype, device=device)
        for name in graph.prunable
    }


def assert_equal_masks(found: phew.Masks, expected: phew.Masks) -> None:
    assert found.info == expected.info
    assert found.keys() == expected.keys()
    for name, mask in expected.items():
        assert found[name].cpu().equal(mask.cpu()), name
    for name, mask in expected.unit_masks.items():
        assert found.unit_masks[name].cpu().equal(mask.cpu()), name


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = NETWORKS[name]
    return network.build(), torch.zeros(1, *network.input_shape)


def check_forecasts(cpu: CpuEngine, cuda: CudaEngine) -> None:
    """Check what masks do not depend on, but the number of walks that are made at first."""
    flows = [(engine.flow(backward=False), engine.flow(backward=True)) for engine in (cpu, cuda)]
    for expected_flow, flow in zip(*flows, strict=True):
        for expected, found in zip(
            [*expected_flow.units, *expected_flow.links], [*flow.units, *flow.links], strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)
    links = [i for i, link in enumerate(cpu.graph.links) if isinstance(link, WeightedLink)]
    histograms = (engine.count_rates(links, *flows[0], share=1.0) for engine in (cpu, cuda))
    for expected_histogram, histogram in zip(*histograms, strict=True):
        # A rate may round to either side of the limit of a bin.
        np.testing.assert_allclose(histogram.numbers.sum(), expected_histogram.numbers.sum())
        np.testing.assert_allclose(
            histogram.rates @ histogram.numbers,
            expected_histogram.rates @ expected_histogram.numbers,
            rtol=1e-9,
        )


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: "-".join(map(str, options.values()))
)
def test_the_engines_agree_on_random_graphs(options: dict[str, Any], num_graphs: int) -> None:
    for seed in range(OPTIONS.index(options), num_graphs, len(OPTIONS)):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        options["seed"] = int(rng.integers(2**64, dtype=np.uint64))
        first = int(rng.choice([0, 1, 2**32 - 9, 2**40 + 1]))
        step = int(rng.choice([1, 2]))
        walked = range(first, first + step * 300, step)
        cpu = CpuEngine(graph, Options(**options), num_threads=1)
        cuda = CudaEngine(on_device(graph), Options(**options), device=CUDA)
        for measure, expected in zip(cuda.measures, cpu.measures, strict=True):
            assert measure.num_zero == expected.num_zero
            np.testing.assert_array_equal(measure.source_totals, expected.source_totals)
            np.testing.assert_array_equal(measure.target_totals, expected.target_totals)
        check_forecasts(cpu, cuda)
        counts = [zeros(graph, torch.int32, engine.device) for engine in (cpu, cuda)]
        listed = []
        for engine, visits in zip((cpu, cuda), counts, strict=True):
            engine.walk(walked, visits, batch_size=100, recording="count")
            unvisited = zeros(graph, torch.bool, engine.device)
            weights, walks = engine.walk(walked, unvisited, batch_size=70, first_listed=first)
            listed.append(sorted(zip(walks.tolist(), weights.tolist(), strict=True)))
        assert listed[0] == listed[1], f"graph {seed}"
        for name in graph.prunable:
            assert counts[1][name].cpu().equal(counts[0][name]), f"graph {seed}, {name}"


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet5", "resnet20", "vgg19_bn", "resnet50"])
def test_masks_of_networks_are_those_of_the_cpu(name: str) -> None:
    model, example = build(name)
    densities = [0.1, 0.02, 0.3]
    expected = phew.sample_masks(model, example, densities=densities)
    found = phew.sample_masks(model.cuda(), example.cuda(), densities=densities)
    for masks, expected_masks in zip(found, expected, strict=True):
        assert_equal_masks(masks, expected_masks)
        assert all(mask.is_cuda for mask in masks.values())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masks_of_every_dtype_are_those_of_the_cpu(dtype: torch.dtype) -> None:
    model, example = build("resnet20")
    expected = phew.sample_masks(model.to(dtype), example.to(dtype), density=0.1)
    model.cuda()
    found = phew.sample_masks(model, example.to("cuda", dtype), density=0.1)
    assert_equal_masks(found, expected)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batches_do_not_matter(batch_size: int) -> None:
    graph = on_device(phew.capture(*build("lenet5")))
    (expected,) = Sampler(graph, Options(), num_threads=1, device=CUDA).run([500])
    sampler = Sampler(graph, Options(), num_threads=1, device=CUDA, batch_size=batch_size)
    (found,) = sampler.run([500])
    assert found.num_walks == expected.num_walks
    for name, mask in expected.visited.items():
        assert found.visited[name].equal(mask)


def test_the_weights_may_be_elsewhere() -> None:
    model, example = build("lenet5")
    expected = phew.sample_masks(model, example, density=0.1)
    found = phew.sample_masks(model, example, density=0.1, device="cuda")
    assert_equal_masks(found, expected)
    assert not any(mask.is_cuda for mask in found.values())
    model.cuda()
    found = phew.sample_masks(model, example.cuda(), density=0.1, device="cpu")
    assert_equal_masks(found, expected)
    assert all(mask.is_cuda for mask in found.values())


def test_work_is_queued_on_the_current_stream() -> None:
    model, example = build("lenet5")
    expected = phew.sample_masks(model, example, density=0.1)
    model.cuda()
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    stream = torch.cuda.Stream()
    with torch.no_grad(), torch.cuda.stream(stream):
        for parameter in model.parameters():
            parameter.zero_()
        # What is read must be what this stream has written by then.
        torch.cuda._sleep(50_000_000)
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)
        found = phew.sample_masks(model, example.cuda(), density=0.1)
    stream.synchronize()
    assert_equal_masks(found, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_another_device_than_the_current_one() -> None:
    model, example = build("lenet5")
    expected = phew.sample_masks(model, example, density=0.1)
    device = torch.device("cuda", 1)
    found = phew.sample_masks(model.to(device), example.to(device), density=0.1)
    assert_equal_masks(found, expected)
    assert all(mask.device == device for mask in found.values())
    assert torch.cuda.current_device() == 0


def test_memory_is_of_torch_and_is_given_back() -> None:
    model, example = build("resnet20")
    graph = phew.capture(model.cuda(), example.cuda())
    phew.sample_masks(graph, density=0.1)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    masks = phew.sample_masks(graph, density=0.1)
    masks_size = sum(mask.numel() for mask in masks.values())
    assert torch.cuda.max_memory_allocated() - before > masks_size
    unit_masks_size = sum(mask.numel() for mask in masks.unit_masks.values())
    slack = 512 * (len(masks) + len(masks.unit_masks))
    assert torch.cuda.memory_allocated() - before <= masks_size + unit_masks_size + slack


def test_out_of_memory_is_an_error_that_leaves_all_as_it_was() -> None:
    model, example = build("resnet20")
    graph = phew.capture(model.cuda(), example.cuda())
    expected = phew.sample_masks(graph, density=0.1)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            phew.sample_masks(graph, density=0.5)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.cuda.memory_allocated() == before
    assert_equal_masks(phew.sample_masks(graph, density=0.1), expected)


def test_visits_that_there_is_no_room_for_are_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phew.walks.cuda_engine.ROOM_FOR_VISITS", 10)
    model, example = build("lenet5")
    expected = phew.sample_masks(model, example, density=0.1)
    assert_equal_masks(phew.sample_masks(model.cuda(), example.cuda(), density=0.1), expected)


def test_walks_of_one_direction_are_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phew.walks.cuda_engine.ROOM_FOR_VISITS", 10)
    model, example = build("lenet5")
    graph = phew.capture(model, example)
    listed, marked = [], []
    for device in (CPU, CUDA):
        engine = make_engine(graph, Options(), num_threads=1, device=device)
        marks = zeros(graph, torch.bool, device)
        weights, walks = engine.walk(range(3, 603, 2), marks, batch_size=70, first_listed=100)
        marked.append({name: mask.cpu() for name, mask in marks.items()})
        # Visits to what the same call marks may be listed.
        visits = torch.stack([weights, walks]).cpu()
        flat = torch.cat([mask.view(-1) for mask in marked[-1].values()])
        listed.append(sorted(visits[:, ~flat[visits[0]]].T.tolist()))
    assert listed[0] == listed[1]
    assert all(marked[0][name].equal(marked[1][name]) for name in graph.prunable)


def test_weights_that_are_not_finite_are_named() -> None:
    model, example = build("lenet5")
    name, parameter = next(iter(model.named_parameters()))
    parameter.data.view(-1)[3] = float("nan")
    with pytest.raises(ValueError, match=name):
        phew.sample_masks(model.cuda(), example.cuda(), density=0.1)


def test_the_graphs_of_a_user_can_be_replayed_afterwards() -> None:
    model, example = build("lenet5")
    model.cuda().eval()
    example = torch.randn(1, *example.shape[1:], device=CUDA)
    with torch.no_grad():
        model(example)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = model(example)
        graph.replay()
        expected = output.clone()
        phew.sample_masks(model, example, density=0.1)
        output.zero_()
        graph.replay()
    assert output.equal(expected)
