"""CUDA devices have streams and memory of their own, and the CPU's masks.

`test_engine.py` and `test_sampling.py` test on both that walks and masks are the reference's.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from equality import assert_same_masks
from random_graphs import DTYPES, random_graph
from small_networks import COLOUR_IMAGE, IMAGE, lenet5, resnet20
from torch import nn
from walk_engines import EngineOn, unvisited
from walk_options import graph_seeds, with_options

import phew
from phew.models import NETWORKS
from phew.walks.engine import Engine
from phew.walks.options import Options

ON_CPU, ON_CUDA = EngineOn("cpu"), EngineOn("cuda")
CUDA = ON_CUDA.device

pytestmark = pytest.mark.cuda


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = NETWORKS[name]
    return network.build(), torch.zeros(1, *network.input_shape)


def check_forecasts(cpu: Engine, cuda: Engine) -> None:
    """Check flows and rates: only the number of walks that are made at first depends on them."""
    flows = [(engine.flow(backward=False), engine.flow(backward=True)) for engine in (cpu, cuda)]
    for expected_flow, flow in zip(*flows, strict=True):
        for expected, found in zip(
            [*expected_flow.units, *expected_flow.links], [*flow.units, *flow.links], strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-300)
    links = [*cpu.graph.weighted]
    histograms = (engine.count_rates(links, *flows[0], share=1.0) for engine in (cpu, cuda))
    for expected_histogram, histogram in zip(*histograms, strict=True):
        # A rate may round to either side of the limit of a bin.
        np.testing.assert_allclose(histogram.numbers.sum(), expected_histogram.numbers.sum())
        np.testing.assert_allclose(
            histogram.rates @ histogram.numbers,
            expected_histogram.rates @ expected_histogram.numbers,
            rtol=1e-9,
        )


@with_options
def test_measures_and_forecasts_are_those_of_the_cpu(options: Options, num_graphs: int) -> None:
    for number in graph_seeds(options, num_graphs):
        graph = random_graph(np.random.default_rng(number))
        cpu, cuda = ON_CPU(graph, options), ON_CUDA(graph, options)
        for measure, expected in zip(cuda.measures, cpu.measures, strict=True):
            assert measure.num_zero == expected.num_zero
            np.testing.assert_array_equal(measure.source_totals, expected.source_totals)
            np.testing.assert_array_equal(measure.target_totals, expected.target_totals)
        check_forecasts(cpu, cuda)


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet5", "resnet20", "vgg19_bn", "resnet50"])
def test_masks_of_networks_are_those_of_the_cpu(name: str) -> None:
    model, example = build(name)
    densities = [0.1, 0.02, 0.3]
    expected = phew.sample_masks(model, example, densities=densities)
    found = phew.sample_masks(model.cuda(), example.cuda(), densities=densities)
    for masks, expected_masks in zip(found, expected, strict=True):
        assert_same_masks(masks, expected_masks)
        assert all(mask.is_cuda for mask in masks.values())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_masks_of_every_dtype_are_those_of_the_cpu(dtype: torch.dtype) -> None:
    model, example = resnet20(), COLOUR_IMAGE
    expected = phew.sample_masks(model.to(dtype), example.to(dtype), density=0.1)
    model.cuda()
    found = phew.sample_masks(model, example.to("cuda", dtype), density=0.1)
    assert_same_masks(found, expected)


def test_the_weights_may_be_elsewhere() -> None:
    model, example = lenet5(), IMAGE
    expected = phew.sample_masks(model, example, density=0.1)
    found = phew.sample_masks(model, example, density=0.1, device="cuda")
    assert_same_masks(found, expected)
    assert not any(mask.is_cuda for mask in found.values())
    model.cuda()
    found = phew.sample_masks(model, example.cuda(), density=0.1, device="cpu")
    assert_same_masks(found, expected)
    assert all(mask.is_cuda for mask in found.values())


def test_work_is_queued_on_the_current_stream() -> None:
    model, example = lenet5(), IMAGE
    expected = phew.sample_masks(model, example, density=0.1)
    model.cuda()
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    stream = torch.cuda.Stream()
    with torch.no_grad(), torch.cuda.stream(stream):
        for parameter in model.parameters():
            parameter.zero_()
        # The walks must read what this stream will have written by then.
        torch.cuda._sleep(50_000_000)
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)
        found = phew.sample_masks(model, example.cuda(), density=0.1)
    stream.synchronize()
    assert_same_masks(found, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two devices")
def test_another_device_than_the_current_one() -> None:
    model, example = lenet5(), IMAGE
    expected = phew.sample_masks(model, example, density=0.1)
    device = torch.device("cuda", 1)
    found = phew.sample_masks(model.to(device), example.to(device), density=0.1)
    assert_same_masks(found, expected)
    assert all(mask.device == device for mask in found.values())
    assert torch.cuda.current_device() == 0


def test_memory_is_of_torch_and_is_given_back() -> None:
    model, example = resnet20(), COLOUR_IMAGE
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
    model, example = resnet20(), COLOUR_IMAGE
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
    assert_same_masks(phew.sample_masks(graph, density=0.1), expected)


def test_visits_that_there_is_no_room_for_are_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phew.walks.cuda_engine.ROOM_FOR_VISITS", 10)
    model, example = lenet5(), IMAGE
    expected = phew.sample_masks(model, example, density=0.1)
    assert_same_masks(phew.sample_masks(model.cuda(), example.cuda(), density=0.1), expected)


def test_walks_of_one_direction_are_listed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phew.walks.cuda_engine.ROOM_FOR_VISITS", 10)
    model, example = lenet5(), IMAGE
    graph = phew.capture(model, example)
    listed, marked = [], []
    for engine in (ON_CPU(graph, Options()), ON_CUDA(graph, Options())):
        marks = unvisited(graph, torch.bool, engine.device)
        weights, walks = engine.walk(range(3, 603, 2), marks, batch_size=70, first_listed=100)
        marked.append({name: mask.cpu() for name, mask in marks.items()})
        # Visits to what the same call marks may be listed.
        visits = torch.stack([weights, walks]).cpu()
        flat = torch.cat([mask.view(-1) for mask in marked[-1].values()])
        listed.append(sorted(visits[:, ~flat[visits[0]]].T.tolist()))
    assert listed[0] == listed[1]
    assert all(marked[0][name].equal(marked[1][name]) for name in graph.prunable)


def test_the_graphs_of_a_user_can_be_replayed_afterwards() -> None:
    model, example = lenet5(), IMAGE
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
