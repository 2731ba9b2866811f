"""States of sparse networks are saved, and sparse and dense ones are loaded."""

from __future__ import annotations

# mypy: disable-error-code="union-attr,index,operator,arg-type"
import copy
import io
from pathlib import Path

import pytest
import safetensors.torch
import torch
from masked_networks import random_masks, signal_network
from torch import Tensor, nn

import phew
from phew.masks.packed import pack
from phew.sparse.state import masks_of_state


def network(seed: int = 0) -> tuple[nn.Sequential, phew.Masks]:
    torch.manual_seed(seed)
    model = signal_network()
    masks = random_masks(model)
    masks.apply(model)
    return model, masks


def sparse_network(seed: int = 0) -> nn.Sequential:
    model, masks = network(seed)
    phew.to_sparse(model, masks)
    return model


def assert_same(model: nn.Module, other: nn.Module) -> None:
    x = torch.randn(4, 2, 8)
    torch.testing.assert_close(model.eval()(x), other.eval()(x), rtol=0, atol=1e-6)


def test_a_state_has_kept_weights_and_a_bit_for_each_weight() -> None:
    dense, masks = network()
    state = sparse_network().state_dict()
    assert [*state] == [
        *("0.weight", "0.bias", "0.mask"),
        *("1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"),
        *("4.weight", "4.bias", "4.mask"),
    ]
    assert state["4.weight"].equal(dense[4].weight[masks["4.weight"]])
    assert state["4.mask"].equal(pack(masks["4.weight"]))


def test_states_are_saved_and_loaded(tmp_path: Path) -> None:
    model = sparse_network()
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    states = [
        model.state_dict(),
        safetensors.torch.load_file(path),
        torch.load(file, weights_only=True),
    ]
    for state in states:
        for assign in (False, True):
            other = sparse_network(seed=1)
            assert str(other.load_state_dict(state, assign=assign)) == (
                "<All keys matched successfully>"
            )
            assert_same(other, model)


def test_safetensors_loads_models(tmp_path: Path) -> None:
    model, other = sparse_network(), sparse_network(seed=1)
    safetensors.torch.save_model(model, str(tmp_path / "model.safetensors"))
    safetensors.torch.load_model(other, tmp_path / "model.safetensors")
    assert_same(other, model)


@pytest.mark.parametrize("assign", [False, True])
def test_states_of_the_dense_model_are_loaded(assign: bool) -> None:
    dense, masks = network()
    phew.release(dense)
    with torch.no_grad():
        for layer in (dense[0], dense[4]):
            layer.weight.normal_()
    other = sparse_network(seed=1)
    other.load_state_dict(dense.state_dict(), assign=assign)
    assert other[4].weight.equal(dense[4].weight[masks["4.weight"]])
    assert isinstance(other[4].weight, nn.Parameter)
    assert other[4].weight.requires_grad
    masks.apply(dense)
    assert_same(other, dense)


def test_a_state_of_another_dtype_is_converted_or_assigned() -> None:
    dense, _ = network()
    other = sparse_network(seed=1)
    other.load_state_dict(dense.double().state_dict())
    assert other[4].weight.dtype == torch.float32
    other.load_state_dict(dense.state_dict(), assign=True)
    assert other[4].weight.dtype == torch.float64
    assert other[4].weight.equal(dense[4].weight[other[4].dense_mask()])


def test_a_part_of_a_state_is_loaded_where_that_is_asked_for() -> None:
    model, other = sparse_network(), sparse_network(seed=1)
    state = model.state_dict()
    del state["4.mask"], state["0.bias"]
    with pytest.raises(
        RuntimeError, match=r"Missing key\(s\) in state_dict: \"0.bias\", \"4.mask\""
    ):
        other.load_state_dict(state)
    result = other.load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["0.bias", "4.mask"], [])
    assert other[4].weight.equal(model[4].weight)


def test_unknown_keys_are_named() -> None:
    state = sparse_network().state_dict() | {"4.scale": torch.ones(1), "mask": torch.ones(1)}
    with pytest.raises(
        RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"mask\", \"4.scale\""
    ):
        sparse_network().load_state_dict(state)


def wrong_states() -> dict[str, tuple[dict[str, Tensor], str]]:
    num_kept = int(random_masks(signal_network())["4.weight"].sum())
    mask = torch.zeros(4, 48, dtype=torch.bool)
    mask.view(-1)[:num_kept] = True
    other_mask = (
        "'4.weight' must have the mask of its layer, got another. phew.load_sparse takes a dense "
        "model, and makes it that of the state."
    )
    return {
        "a dense state of another shape": (
            {"4.weight": torch.zeros(4, 40)},
            f"'4.weight' must have the dense weight's shape (4, 48), or be the {num_kept} kept "
            "weights with their mask, got the shape (4, 40).",
        ),
        "other masks": ({"4.weight": torch.zeros(num_kept), "4.mask": pack(mask)}, other_mask),
        "masks of another shape": (
            {"4.weight": torch.zeros(num_kept), "4.mask": pack(mask[:3])},
            other_mask,
        ),
        "masks of another type": ({"4.mask": torch.zeros(24)}, other_mask),
        "another number of weights": (
            {"4.weight": torch.zeros(num_kept + 1)},
            f"'4.weight' must have {num_kept} kept weights, got the shape ({num_kept + 1},).",
        ),
    }


@pytest.mark.parametrize("name", wrong_states())
def test_wrong_states_are_refused(name: str) -> None:
    changed, message = wrong_states()[name]
    model = sparse_network()
    state = model.state_dict() | changed
    if name.startswith("a dense"):
        del state["4.mask"]
    before = {key: each.clone() for key, each in model.state_dict().items()}
    state = {key: each + 1 if each.is_floating_point() else each for key, each in state.items()}
    with pytest.raises(RuntimeError, match=r"Error\(s\) in loading") as error:
        model.load_state_dict(state)
    assert str(error.value) == f"Error(s) in loading state_dict for Sequential:\n\t{message}"
    assert all(each.equal(before[key]) for key, each in model.state_dict().items())
    # Some loaders call this function of each module alone.
    messages: list[str] = []
    model[4]._load_from_state_dict(state, "4.", {}, True, [], [], messages)
    assert messages == [message]
    assert model[4].bias.equal(before["4.bias"])


def test_all_that_is_wrong_with_a_state_is_told_at_once() -> None:
    outer = nn.ModuleDict({"inner": copy.deepcopy(sparse_network())})
    state = outer.state_dict()
    state["inner.0.weight"], state["inner.4.weight"] = torch.zeros(1), torch.zeros(2)
    message = r"(?s)'inner.0.weight' must have.*'inner.4.weight' must have"
    with pytest.raises(RuntimeError, match=message):
        outer.load_state_dict(state)
    phew.to_dense(outer)
    with pytest.raises(RuntimeError, match=r"size mismatch for inner\.0\.weight"):
        outer.load_state_dict(state)


def test_a_dense_model_becomes_sparse_as_its_state_is() -> None:
    model = sparse_network()
    other = signal_network()
    phew.to_sparse(other, masks_of_state(other, model.state_dict()))
    other.load_state_dict(model.state_dict())
    assert_same(other, model)
    assert phew.to_dense(other) == network()[1]


@pytest.mark.parametrize(
    ("model", "changed", "message"),
    [
        (
            nn.Linear(2, 2),
            {},
            "model must have the weights of the state, got none named '0.weight'.",
        ),
        (
            nn.Sequential(nn.Linear(2, 2)),
            {},
            "'0.weight' must be a sparse weight of the shape (2, 2), got 8 kept weights and "
            "5 bytes of mask.",
        ),
        (
            signal_network(),
            {"0.weight": torch.zeros(3)},
            "'0.weight' must be a sparse weight of the shape (6, 2, 3), got 3 kept weights and "
            "5 bytes of mask.",
        ),
    ],
)
def test_states_of_other_models_have_no_masks(
    model: nn.Module, changed: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match="must") as error:
        masks_of_state(model, sparse_network().state_dict() | changed)
    assert str(error.value) == message


def test_states_of_dense_models_have_no_masks() -> None:
    model = signal_network()
    with pytest.raises(ValueError, match=r"^state_dict must have sparse layers, got none\.$"):
        masks_of_state(model, model.state_dict())
