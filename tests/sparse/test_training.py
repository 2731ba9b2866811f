"""Training a sparse network is training the held one, with states of kept weights alone."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return,operator,union-attr,index,arg-type"
import copy
import io
from collections.abc import Callable

import pytest
import torch
from masked_networks import random_masks
from torch import Tensor, nn

import phew

NUM_STEPS = 200


def perceptron() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4)
    )


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (3, 2, 2)),
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "SGD": lambda model: torch.optim.SGD(
        model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.001
    ),
    "AdamW": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1),
}


def losses_of(model: nn.Module, optimizer: torch.optim.Optimizer, num_steps: int) -> list[float]:
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(64, 12, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (64,), generator=generator)
    losses = []
    for step in range(num_steps):
        batch = slice(16 * (step % 4), 16 * (step % 4) + 16)
        loss = nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("make_model", [perceptron, convolutional])
def test_losses_are_those_of_held_masks(
    make_model: Callable[[], nn.Module],
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
) -> None:
    torch.manual_seed(0)
    held = make_model().double()
    masks = random_masks(held)
    masks.apply(held)
    sparse = copy.deepcopy(held)
    phew.to_sparse(sparse, masks)
    expected = losses_of(held, make_optimizer(held), NUM_STEPS)
    losses = losses_of(sparse, make_optimizer(sparse), NUM_STEPS)
    torch.testing.assert_close(losses, expected, rtol=0, atol=1e-5)
    assert expected[-1] < 0.5 * expected[0]
    assert phew.to_dense(sparse) == masks
    for name, weight in sparse.state_dict().items():
        torch.testing.assert_close(weight, held.state_dict()[name], rtol=0, atol=1e-5)


def test_states_of_optimizers_are_of_kept_weights_and_are_saved() -> None:
    torch.manual_seed(0)
    model = perceptron().double()
    phew.to_sparse(model, random_masks(model))
    optimizer = OPTIMIZERS["AdamW"](model)
    losses_of(model, optimizer, 4)
    for parameter in model.parameters():
        assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    torch.manual_seed(0)
    resumed = perceptron().double()
    phew.to_sparse(resumed, random_masks(resumed))
    resumed.load_state_dict(state["model"])
    other = OPTIMIZERS["AdamW"](resumed)
    other.load_state_dict(state["optimizer"])
    assert losses_of(resumed, other, 4) == losses_of(model, optimizer, 4)


def test_an_optimizer_made_before_says_so_at_its_first_step() -> None:
    model = perceptron()
    masks = random_masks(model)
    masks.apply(model)
    x = torch.randn(3, 12)

    def step(optimizer: torch.optim.Optimizer) -> None:
        model(x).sum().backward()
        optimizer.step()

    before = torch.optim.SGD(model.parameters(), lr=0.1)
    step(before)
    phew.to_sparse(model, masks)
    with pytest.raises(RuntimeError, match="optimizer must train") as error:
        step(before)
    assert str(error.value) == (
        "optimizer must train the parameters of the model, got some that to_sparse has replaced. "
        "Make the optimizer after phew.to_sparse."
    )
    between = torch.optim.SGD(model.parameters(), lr=0.1)
    step(between)
    phew.to_dense(model)
    with pytest.raises(RuntimeError, match=r"Make the optimizer after phew\.to_dense\."):
        step(between)
    step(torch.optim.SGD(model.parameters(), lr=0.1))


def test_optimizers_of_other_parameters_go_on() -> None:
    model = perceptron()
    phew.to_sparse(model, random_masks(model))
    # Biases are the same parameters as before.
    optimizer = torch.optim.SGD([model[0].bias], lr=0.1)
    before = model[0].bias.clone()
    model(torch.randn(3, 12)).sum().backward()
    optimizer.step()
    assert not model[0].bias.equal(before)


def test_gradients_are_accumulated_across_the_conversion() -> None:
    torch.manual_seed(0)
    model = perceptron()
    masks = random_masks(model)
    masks.apply(model)
    x = torch.randn(3, 12)
    model(x).sum().backward()
    gradients = {name: each.grad.clone() for name, each in model.named_parameters()}
    phew.to_sparse(model, masks)
    assert model[0].weight.grad.equal(gradients["0.weight"][masks["0.weight"]])
    phew.to_dense(model)
    for name, parameter in model.named_parameters():
        assert parameter.grad.equal(gradients[name])


def test_averaged_models_are_sparse_too() -> None:
    model = perceptron()
    phew.to_sparse(model, random_masks(model))
    averaged = torch.optim.swa_utils.AveragedModel(model)
    averaged.update_parameters(model)
    x: Tensor = torch.randn(3, 12)
    torch.testing.assert_close(averaged(x), model(x))
