"""Products go two ways: both refuse what does not fit, and give the same wherever they run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from sparse_cases import WAYS, case_of, random_case
from torch import Tensor, nn

import phew
from phew.sparse import expanded, operators
from phew.sparse.geometry import Geometry, Way
from phew.sparse.indices import indices_of
from phew.sparse.products import product


@pytest.mark.parametrize("name", ["linear", "2d"])
def test_tensors_of_any_strides_are_multiplied(name: str) -> None:
    geometry, num_out, size = case_of(name, "sparse")
    input, weight, bias, indices, _ = random_case(geometry, num_out, size)
    expected = product(input, weight, bias, indices, geometry)
    input, weight, bias = (
        torch.stack([tensor.detach(), tensor.detach() + 1], -1)[..., 0]
        for tensor in (input, weight, bias)
    )
    assert product(input, weight, bias, indices, geometry).equal(expected)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    torch.manual_seed(0)
    for geometry, size in [
        (Geometry(300, way="sparse"), ()),
        (Geometry(20, (3, 3), (2, 1), (1, 1), (1, 1), 2, "sparse"), (9, 8)),
    ]:
        indices = indices_of(torch.rand(geometry.dense_shape(70)) < 0.2)
        weight = torch.randn(len(indices.columns), requires_grad=True)
        for num_images in (1, 3, 40):
            input = torch.randn(num_images, geometry.in_channels, *size, requires_grad=True)
            results = []
            for number in (1, 2, 3, 7):
                with num_threads(number):
                    output = product(input, weight, None, indices, geometry)
                    gradients = torch.autograd.grad(output.square().sum(), (input, weight))
                results.append((output, *gradients))
            for others in results[1:]:
                assert all(map(torch.equal, others, results[0]))


@contextmanager
def num_threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("operator", "shapes"),
    [
        ("product", [(2, 4), (3,), None]),
        ("product", [(2, 5), (4,), None]),
        ("product", [(2, 5), (3,), (3,)]),
        ("transposed_product", [(2, 3), (3,), []]),
        ("transposed_product", [(2, 2), (4,), []]),
        ("sampled_product", [(2, 3), (2, 5)]),
        ("sampled_product", [(2, 2), (2, 4)]),
        ("sampled_product", [(2, 2), (3, 5)]),
        ("expand", [(4,)]),
        ("gather", [(2, 4)]),
    ],
)
def test_tensors_of_other_shapes_are_refused(operator: str, shapes: list[Any]) -> None:
    """A layer of 5 inputs and 2 outputs with 3 kept weights."""
    indices = indices_of(torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]]) > 0)
    arguments = [torch.zeros(each) if isinstance(each, tuple) else each for each in shapes]
    rest = {"expand": [[2, 5]], "gather": []}.get(operator, Geometry(5, way="sparse"))
    with pytest.raises(RuntimeError, match="must have"):
        getattr(operators, operator)(*arguments, *indices, *rest)


@pytest.mark.parametrize("num_columns", [5, 8])
def test_weights_that_are_expanded_in_parts_give_the_same(
    num_columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    geometry = Geometry(num_columns, way="dense")
    input, weight, bias, indices, _ = random_case(geometry, 21, ())

    def results() -> tuple[Tensor, ...]:
        return tuple(
            tensor
            for biases in (bias, None)
            for output in [product(input, weight, biases, indices, geometry)]
            for tensor in (output, *torch.autograd.grad(output.square().sum(), (input, weight)))
        )

    whole = results()
    monkeypatch.setattr(expanded, "PART_SIZE", 40)
    for one, other in zip(results(), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_tensors_of_several_types_or_devices_are_refused() -> None:
    indices = indices_of(torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]]) > 0)
    rest = Geometry(5, way="sparse")
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        input, weight, bias, grad = (torch.zeros(each) for each in ((2, 5), 3, 2, (2, 2)))
        with pytest.raises(
            RuntimeError, match=rf"^all tensors must be torch\.float32, got {dtype}"
        ):
            operators.product(input, weight.to(dtype), bias, *indices, *rest)
        with pytest.raises(
            RuntimeError, match=rf"^all tensors must be torch\.float32, got {dtype}"
        ):
            operators.product(input, weight, bias.to(dtype), *indices, *rest)
        with pytest.raises(RuntimeError, match=r"^all tensors must be torch\.float32"):
            operators.transposed_product(grad, weight.to(dtype), [], *indices, *rest)
        with pytest.raises(RuntimeError, match=r"^all tensors must be torch\.float32"):
            operators.sampled_product(grad, input.to(dtype), *indices, *rest)


def test_layers_of_another_type_than_their_input_are_refused() -> None:
    layer = phew.sparse.Linear.from_dense(nn.Linear(64, 8).bfloat16(), torch.rand(8, 64) < 0.1)
    with pytest.raises(RuntimeError, match=r"^all tensors must be torch\.float32, got"):
        layer(torch.zeros(2, 64))


@pytest.mark.parametrize("way", WAYS)
def test_inputs_that_are_smaller_than_the_kernel_are_refused(way: Way) -> None:
    layer = nn.Conv2d(4, 8, 3, stride=2)
    sparse = phew.sparse.Conv2d.from_dense(layer, torch.rand(layer.weight.shape) < 0.2, way=way)
    for size in ((2, 8), (1, 8)):
        with pytest.raises(RuntimeError, match=r"kernel|Kernel"):
            sparse(torch.zeros(2, 4, *size))


@pytest.mark.parametrize("way", WAYS)
def test_layers_and_inputs_may_be_empty(way: Way) -> None:
    for layer, shape in [
        (nn.Linear(8, 3), (0, 8)),
        (nn.Linear(8, 3), (2, 0, 8)),
        (nn.Conv2d(16, 8, 1), (0, 16, 8, 8)),
        (nn.Conv2d(16, 8, 3), (0, 16, 8, 8)),
    ]:
        kind = getattr(phew.sparse, type(layer).__name__)
        mask = torch.rand_like(layer.get_parameter("weight")) < 0.3
        sparse = kind.from_dense(layer, mask, way=way)
        input = torch.zeros(shape, requires_grad=True)
        assert sparse(input).equal(layer(input))
        sparse(input).sum().backward()
        assert not sparse.weight.grad.any()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_layer_may_have_no_inputs() -> None:
    layer = nn.Linear(0, 8)
    sparse = phew.sparse.Linear.from_dense(layer, torch.zeros(8, 0) > 0)
    for shape in ((3, 0), (2, 3, 0), (0,)):
        assert sparse(torch.zeros(shape)).equal(layer(torch.zeros(shape)))


@pytest.mark.parametrize("way", WAYS)
def test_exported_layers_run_where_gradients_are_enabled(way: Way) -> None:
    for layer, x in [
        (nn.Linear(6, 4), torch.randn(2, 6)),
        (nn.Conv2d(3, 4, 3), torch.randn(1, 3, 5, 5)),
    ]:
        model = nn.Sequential(layer)
        mask = torch.rand_like(layer.get_parameter("weight")) < 0.4
        phew.to_sparse(model, {"0.weight": mask}, way=way)
        exported = torch.export.export(model, (x,)).module()
        torch.testing.assert_close(exported(x), model(x))


@pytest.mark.parametrize("way", WAYS)
def test_products_are_contiguous_for_inputs_in_any_order(way: Way) -> None:
    geometry, num_out, size = case_of("2d", way)
    input, weight, bias, indices, _ = random_case(geometry, num_out, size)
    input = input.detach().to(memory_format=torch.channels_last)
    grad = torch.randn(2, num_out, *size, dtype=torch.float64)
    grad = grad.to(memory_format=torch.channels_last)
    assert product(input, weight, bias, indices, geometry).is_contiguous()
    shared = (*indices, *geometry)
    of_input = operators.transposed_product(grad, weight.detach(), list(size), *shared)
    assert of_input.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_of_parts_are_not_rounded_to_few_bits(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    geometry = Geometry(16, way="dense")
    indices = indices_of(torch.rand(512, 16) < 0.5)
    weight = torch.randn(len(indices.columns)).to(dtype)
    grad = torch.randn(8, 512).to(dtype)
    whole = operators.transposed_product(grad, weight, [], *indices, *geometry)
    monkeypatch.setattr(expanded, "PART_SIZE", 128)
    assert operators.transposed_product(grad, weight, [], *indices, *geometry).equal(whole)


def test_autocast_is_part_of_the_choice() -> None:
    layer = phew.sparse.Linear.from_dense(nn.Linear(64, 8), torch.rand(8, 64) < 0.1)
    x = torch.zeros(2, 64)
    for dtype, way in ((torch.float16, "dense"), (torch.bfloat16, "sparse")):
        with torch.autocast("cpu", dtype):
            assert layer.chosen_way(x) == way
