"""Products with sparse weights equal those of torch with dense ones, and so do all derivatives."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from sparse_cases import GEOMETRIES, WAYS, case_of, random_case
from torch import Tensor

from phew.sparse.geometry import Geometry, Way
from phew.sparse.indices import indices_of
from phew.sparse.products import expand, gather, product

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}


def dense_product(input: Tensor, dense: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    if not geometry.kernel_size:
        return torch.nn.functional.linear(input, dense, bias)
    convolve = CONVOLUTIONS[len(geometry.kernel_size)]
    return convolve(input, dense, bias, *geometry[2:6])


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_products_equal_those_of_the_dense_weight(name: str, way: Way, density: float) -> None:
    geometry, num_out, size = case_of(name, way)
    input, weight, bias, indices, mask = random_case(geometry, num_out, size, density)
    dense = torch.zeros(mask.shape, dtype=torch.float64)
    dense[mask] = weight.detach()
    for images, biases in itertools.product((input, input[:1]), (bias, None)):
        expected = dense_product(images, dense, biases, geometry)
        torch.testing.assert_close(
            product(images, weight, biases, indices, geometry), expected, rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_gradients_are_those_of_finite_differences(name: str, way: Way) -> None:
    geometry, num_out, size = case_of(name, way)
    input, weight, bias, indices, _ = random_case(geometry, num_out, size)

    def apply(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return product(input, weight, bias, indices, geometry)

    assert torch.autograd.gradcheck(apply, (input, weight, bias))
    assert torch.autograd.gradgradcheck(apply, (input, weight, bias))


@pytest.mark.parametrize("name", ["linear", "2d uneven"])
@pytest.mark.parametrize("needed", [*itertools.product([False, True], repeat=3)])
def test_only_gradients_that_are_needed_are_computed(
    name: str, needed: tuple[bool, bool, bool]
) -> None:
    geometry, num_out, size = GEOMETRIES[name]
    input, weight, bias, indices, _ = random_case(geometry, num_out, size)
    tensors = [
        tensor.detach().requires_grad_(need)
        for tensor, need in zip((input, weight, bias), needed, strict=True)
    ]
    output = product(tensors[0], tensors[1], tensors[2], indices, geometry)
    assert output.requires_grad == any(needed)
    if any(needed):
        output.sum().backward()
    assert [tensor.grad is not None for tensor in tensors] == list(needed)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["linear", "2d in groups"])
def test_an_empty_batch_has_an_empty_product(name: str, way: Way) -> None:
    geometry, num_out, size = case_of(name, way)
    input, weight, bias, indices, _ = random_case(geometry, num_out, size)
    output = product(input[:0], weight, bias, indices, geometry)
    assert output.shape == (0, num_out, *geometry.out_size(size))
    output.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["linear", "2d"])
def test_products_have_the_dtype_of_their_arguments(
    name: str, way: Way, dtype: torch.dtype
) -> None:
    geometry, num_out, size = case_of(name, way)
    input, weight, bias, indices, mask = random_case(geometry, num_out, size)
    input, weight, bias = (tensor.detach().to(dtype) for tensor in (input, weight, bias))
    dense = torch.zeros(mask.shape, dtype=dtype)
    dense[mask] = weight
    result = product(input, weight, bias, indices, geometry)
    assert result.dtype == dtype
    expected = dense_product(input.double(), dense.double(), bias.double(), geometry)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=20 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["linear", "1d", "2d uneven", "3d in groups"])
def test_operators_keep_the_rules_of_torch(name: str, way: Way) -> None:
    geometry, num_out, size = case_of(name, way)
    input, weight, bias, indices, mask = random_case(geometry, num_out, size)
    shared = (*indices, *geometry)
    grad = torch.randn(2, num_out, *geometry.out_size(size), dtype=torch.float64)
    operators = torch.ops.phew
    input, weight, bias = input.detach(), weight.detach(), bias.detach()
    for operator, arguments in [
        (operators.product, (input, weight, bias, *shared)),
        (operators.product, (input, weight, None, *shared)),
        (operators.transposed_product, (grad, weight, list(size), *shared)),
        (operators.sampled_product, (grad, input, *shared)),
        (operators.expand, (weight, *indices, list(mask.shape))),
        (operators.gather, (torch.randn(mask.shape), *indices)),
    ]:
        torch.library.opcheck(
            operator.default, arguments, test_utils=("test_schema", "test_faketensor")
        )


def test_weights_are_expanded_and_gathered_in_the_order_of_memory() -> None:
    mask = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]]) > 0
    indices = indices_of(mask)
    dense = expand(torch.tensor([1.0, 2.0, 3.0]), indices, mask.shape)
    assert dense.tolist() == [[1, 0, 0, 2, 0], [0, 3, 0, 0, 0]]
    assert gather(torch.arange(10.0).view(2, 5), indices).tolist() == [0, 3, 6]


def test_expanding_and_gathering_are_differentiable_twice() -> None:
    _, weight, _, indices, mask = random_case(*GEOMETRIES["2d in groups"])
    dense = torch.randn(mask.shape, dtype=torch.float64, requires_grad=True)
    for function, argument in [
        (lambda weight: expand(weight, indices, mask.shape).square(), weight),
        (lambda dense: gather(dense, indices).square(), dense),
    ]:
        assert torch.autograd.gradcheck(function, argument)
        assert torch.autograd.gradgradcheck(function, argument)


def test_columns_beyond_16_bits_are_kept() -> None:
    mask = torch.zeros(2, 70_000, dtype=torch.bool)
    mask[0, 69_999] = mask[1, 65_536] = mask[1, 40_000] = True
    indices = indices_of(mask)
    assert indices.columns.dtype == torch.int32
    dense = expand(torch.tensor([1.0, 2.0, 3.0]), indices, mask.shape)
    assert (dense != 0).equal(mask)


def test_columns_of_16_bits_have_no_sign() -> None:
    mask = torch.zeros(1, 65_536, dtype=torch.bool)
    mask[0, [5, 40_000, 65_535]] = True
    indices = indices_of(mask)
    assert indices.columns.dtype == torch.int16
    assert gather(torch.arange(65_536.0)[None], indices).tolist() == [5, 40_000, 65_535]
