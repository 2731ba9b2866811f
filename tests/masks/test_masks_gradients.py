"""Gradients of pruned weights are zero, and those that others have stay as they are."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, call-overload, index, misc, no-untyped-call, operator"
# mypy: disable-error-code="union-attr"
import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from masked_networks import assert_masked, masked_network, random_masks
from torch import nn

from phew.masks.masks import Masks

MASK = torch.tensor([True, False, True, False, False])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Vector(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))


def held_vector(*shape: int) -> nn.Parameter:
    vector = Vector(*shape)
    Masks({"weight": MASK.view(shape)}).apply(vector)
    return vector.weight


def grad_address(parameter: nn.Parameter) -> list[int]:
    """Return a list that gets the address of the next gradient, before it is masked."""
    addresses: list[int] = []

    def note(grad: torch.Tensor) -> None:
        addresses.append(grad.data_ptr())

    parameter.register_hook(note)
    hooks = parameter._backward_hooks
    hooks.move_to_end(next(reversed(hooks)), last=False)
    return addresses


# In place, where nobody else has the gradient


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(6, 4), (3, 6)),
        (nn.Conv2d(3, 4, 3), (2, 3, 5, 5)),
        (nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), (2, 3, 5, 5)),
    ],
)
def test_a_gradient_that_nobody_else_has_is_masked_in_place(
    module: nn.Module, shape: tuple[int, ...]
) -> None:
    masks = random_masks(module)
    masks.apply(module)
    addresses = grad_address(module.weight)
    module(torch.randn(shape)).square().sum().backward()
    assert [module.weight.grad.data_ptr()] == addresses
    assert not module.weight.grad[~masks["weight"]].any()


# Not in place, where others have it


def test_a_gradient_that_two_parameters_get_is_masked_for_one_alone() -> None:
    for held_first in (False, True):
        held, other = held_vector(5), nn.Parameter(torch.randn(5))
        pair = (held, other) if held_first else (other, held)
        ((pair[0] + pair[1]) ** 3).sum().backward()
        assert other.grad.all()
        assert held.grad.equal(other.grad * MASK)


@pytest.mark.parametrize("view_first", [False, True])
@pytest.mark.parametrize("other_is_view", [False, True])
def test_a_gradient_whose_memory_two_parameters_get_is_masked_for_one_alone(
    view_first: bool, other_is_view: bool
) -> None:
    held, other = held_vector(1, 5), nn.Parameter(torch.randn((5, 1) if other_is_view else (5,)))
    terms = (held.view(5), other.view(5))
    total = terms[0] + terms[1] if view_first else terms[1] + terms[0]
    (total**3).sum().backward()
    assert other.grad.all()
    assert held.grad.view(5).equal(other.grad.view(5) * MASK)


def test_a_gradient_that_the_caller_passes_stays_as_it_is() -> None:
    weight, grad = held_vector(5), torch.ones(5)
    weight.backward(grad)
    weight.view(1, 5).backward(grad.view(1, 5))
    (weight * 1).backward(grad)
    assert grad.all()
    assert weight.grad.equal(3.0 * MASK)


def test_a_gradient_that_an_earlier_hook_keeps_stays_as_it_is() -> None:
    vector = Vector(5)
    kept: list[torch.Tensor] = []
    vector.weight.register_hook(kept.append)
    Masks({"weight": MASK}).apply(vector)
    (vector.weight**2 + vector.weight).sum().backward()
    assert kept[0].all()
    assert not vector.weight.grad[~MASK].any()


def test_a_gradient_that_is_retained_stays_as_it_is() -> None:
    weight = held_vector(1, 5)
    flat = weight.view(5)
    flat.retain_grad()
    (flat.exp()).sum().backward()
    assert flat.grad.all()
    assert weight.grad.view(5).equal(flat.grad * MASK)


class Doubled(torch.autograd.Function):
    """Returns a tensor that it keeps as the gradient."""

    kept = torch.ones(5)

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return Doubled.kept


def test_a_gradient_that_a_function_keeps_stays_as_it_is() -> None:
    weight = held_vector(5)
    Doubled.apply(weight).sum().backward()
    Doubled.apply(weight.view(5)).sum().backward()
    assert Doubled.kept.all()
    assert weight.grad.equal(2.0 * MASK)


def test_gradients_accumulate() -> None:
    weight = held_vector(5)
    for _ in range(3):
        (weight * 2).sum().backward()
    assert weight.grad.equal(6.0 * MASK)


# Gradients that are asked for, differentiated, batched or compiled


def test_gradients_that_are_asked_for_are_masked_and_can_be_differentiated() -> None:
    weight = held_vector(5)
    (grad,) = torch.autograd.grad((weight * 2).sum(), weight)
    assert grad.equal(2.0 * MASK)
    (grad,) = torch.autograd.grad(weight.exp().sum(), weight, create_graph=True)
    assert grad.equal(weight.exp() * MASK)
    (second,) = torch.autograd.grad(grad.sum(), weight)
    assert second.equal(weight.exp() * MASK)


def test_batched_gradients_are_masked() -> None:
    weight = held_vector(5)
    (grads,) = torch.autograd.grad(weight * 2, weight, torch.eye(5), is_grads_batched=True)
    assert grads.equal(2.0 * torch.diag(MASK))


def test_gradients_with_tangents_are_masked() -> None:
    weight = held_vector(5)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(torch.ones(5), torch.full((5,), 3.0))
        (grad,) = torch.autograd.grad((weight * dual).sum(), weight)
        value, tangent = torch.autograd.forward_ad.unpack_dual(grad)
    assert value.equal(MASK.float())
    assert tangent.equal(3.0 * MASK)


COMPILED_BACKWARD = """
import warnings
import phew, torch

warnings.simplefilter("error")
warnings.filterwarnings("ignore", "Guards may run slower")  # of torch, on Python 3.13.0
mask = torch.tensor([True, False, True, False, True])
vector = torch.nn.ParameterDict({"weight": torch.nn.Parameter(torch.ones(5))})
phew.Masks({"weight": mask}).apply(vector)

def train():
    (vector["weight"] * 2).sum().backward()

with torch._dynamo.config.patch(compiled_autograd=True):
    torch.compile(train, backend="eager")()
assert vector["weight"].grad.equal(2.0 * mask)
breaks = list(torch._dynamo.utils.counters["graph_break"])
assert all("Tensor.backward" in reason for reason in breaks), breaks
"""


@pytest.mark.slow
def test_compiled_backward_passes_have_one_graph_and_no_warning() -> None:
    # Other tests make torch log what it compiles, and that breaks graphs by itself.
    subprocess.run([sys.executable, "-c", COMPILED_BACKWARD], check=True, cwd="/")


def test_a_gradient_from_before_the_masks_is_masked() -> None:
    vector = Vector(5)
    (vector.weight * 2).sum().backward()
    Masks({"weight": MASK}).apply(vector)
    assert vector.weight.grad.equal(2.0 * MASK)


# Kinds of memory


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000, 300_001])
def test_masks_of_any_size_and_type(dtype: torch.dtype, size: int) -> None:
    vector = Vector(size).to(dtype)
    mask = torch.rand(size) < 0.5
    before = vector.weight.detach().clone()
    before[: size // 2] = -torch.inf
    vector.weight.data.copy_(before)
    Masks({"weight": mask}).apply(vector)
    assert vector.weight[mask].equal(before[mask])
    pruned = vector.weight[~mask]
    assert not pruned.any()
    assert not pruned.signbit().any()
    (vector.weight[mask] * 2).sum().backward()
    assert vector.weight.grad.equal(2 * mask.to(dtype))


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.to(memory_format=torch.channels_last),
        lambda weight: weight.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
        lambda weight: torch.stack([weight, weight], dim=-1)[..., 0],
        lambda weight: weight.double(),
    ],
    ids=["channels_last", "permuted", "strided", "double"],
)
def test_weights_whose_memory_is_laid_out_anew_stay_held(
    change: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    model = nn.Conv2d(4, 6, 3)
    masks = random_masks(model)
    masks.apply(model)
    model.weight.data = change(torch.randn(6, 4, 3, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    inputs = torch.randn(2, 4, 5, 5, dtype=model.weight.dtype)
    nn.functional.conv2d(inputs, model.weight).square().sum().backward()
    assert not model.weight.grad[~masks["weight"]].any()
    assert model.weight.grad[masks["weight"]].all()
    optimizer.step()
    assert_masked(model, masks)
    assert not copy.deepcopy(model).weight[~masks["weight"]].any()


def test_masks_take_a_bit_a_weight_in_a_copy_of_the_model() -> None:
    dense = nn.Linear(1000, 1000, bias=False)
    held = copy.deepcopy(dense)
    random_masks(held).apply(held)
    added = len(pickle.dumps(held)) - len(pickle.dumps(dense))
    assert 1_000_000 / 8 < added < 1_000_000 / 8 + 10_000


def test_zeroing_what_is_zero_is_no_change_to_autograd() -> None:
    model, masks = masked_network()
    loss = model(torch.randn(5, 2, 8, requires_grad=True)).square().sum()
    masks.apply(model)
    loss.backward()
    loss = model(torch.randn(5, 2, 8, requires_grad=True)).square().sum()
    nn.init.ones_(model[4].weight.data)
    masks.apply(model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_parameters_of_a_functional_call_are_not_held() -> None:
    model, masks = masked_network()
    model.eval()
    parameters = {name: torch.randn_like(value) for name, value in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss_of(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        output: torch.Tensor = torch.func.functional_call(
            model, (parameters, buffers), torch.ones(5, 2, 8)
        )
        return output.square().sum()

    grads = torch.func.grad(loss_of)(parameters)
    assert grads["4.weight"][~masks["4.weight"]].any()
    assert_masked(model, masks)
