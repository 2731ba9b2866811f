"""Which layers become sparse, which stay dense and held, and the reasons that the report names."""

from __future__ import annotations

# mypy: disable-error-code="union-attr,index,operator,no-any-return,arg-type,assignment"
# mypy: disable-error-code="attr-defined,comparison-overlap,no-untyped-call"
import copy
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from masked_networks import assert_masked, random_masks, signal_network, train
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import register_parametrization

import phew
from phew.sparse.state import masks_of_state


def held(model: nn.Module) -> phew.Masks:
    masks = random_masks(model)
    masks.apply(model)
    return masks


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(4, 4) for _ in range(3))
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x)))


class Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Named(nn.Linear):
    """It has the forward of its parent."""

    label = "named"


class StandardisedConv(nn.Conv1d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, weight - weight.mean(), bias)


class Reads(nn.Module):
    """It applies the weight of a layer itself, in a method that its forward calls."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.called, self.asked = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self._read(x)
        return self.asked(self.called(x).to(self.asked.weight.dtype))

    def _read(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.read.weight, self.read.bias)

    def reset(self) -> None:
        nn.init.zeros_(self.called.weight)


def replaced_forward() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].forward = lambda x: x
    return model


def hooked_gradient() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight.register_hook(lambda grad: 2 * grad)
    return model


def with_own(name: str) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    setattr(model[1], name, "own")
    return model


DENSE: dict[str, tuple[Callable[[], nn.Module], dict[str, str]]] = {
    "shared": (
        Tied,
        {"first.weight": "it is shared with another layer"},
    ),
    "attention": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2)),
        {
            "1.in_proj_weight": "it is not the weight of a layer",
            "1.out_proj.weight": "MultiheadAttention reads it itself",
        },
    ),
    "encoder": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8),
        {
            "self_attn.in_proj_weight": "it is not the weight of a layer",
            "self_attn.out_proj.weight": "MultiheadAttention reads it itself",
            "linear1.weight": "TransformerEncoderLayer reads it itself",
            "linear2.weight": "TransformerEncoderLayer reads it itself",
        },
    ),
    "parametrised": (
        lambda: nn.Sequential(
            nn.Linear(4, 4),
            parametrizations.weight_norm(nn.Linear(4, 4)),
            register_parametrization(nn.Linear(4, 4), "bias", nn.Tanh()),
        ),
        {
            "1.parametrizations.weight.original0": "it is not the weight of a layer",
            "1.parametrizations.weight.original1": "it is not the weight of a layer",
            "2.weight": "its layer is parametrised",
        },
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4)),
        {"0.weight": "Embedding has no sparse form"},
    ),
    "transposed convolution": (
        lambda: nn.Sequential(nn.ConvTranspose1d(4, 4, 2), nn.Linear(4, 4)),
        {"0.weight": "ConvTranspose1d has no sparse form"},
    ),
    "recurrent": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.GRU(4, 4)),
        {
            "1.weight_ih_l0": "it is not the weight of a layer",
            "1.weight_hh_l0": "it is not the weight of a layer",
        },
    ),
    "bilinear": (
        lambda: nn.ModuleList([nn.Linear(4, 4), nn.Bilinear(2, 2, 2)]),
        {"1.weight": "Bilinear has no sparse form"},
    ),
    "own forward": (
        lambda: nn.Sequential(nn.Linear(4, 4), Scaled(4, 4), StandardisedConv(4, 4, 1)),
        {
            "1.weight": "Scaled has a forward of its own",
            "2.weight": "StandardisedConv has a forward of its own",
        },
    ),
    "replaced forward": (replaced_forward, {"1.weight": "the forward of its layer is replaced"}),
    "complex": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, dtype=torch.complex64)),
        {"1.weight": "it is torch.complex64"},
    ),
    "hooked gradient": (hooked_gradient, {"1.weight": "its gradient has a hook"}),
    "own mask": (lambda: with_own("mask"), {"1.weight": "its layer has a 'mask' of its own"}),
    "own indices": (
        lambda: with_own("indices"),
        {"1.weight": "its layer has a 'indices' of its own"},
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_what_has_no_sparse_form_stays_dense_and_held_and_is_named(name: str) -> None:
    make_model, reasons = DENSE[name]
    model = make_model()
    masks = random_masks(model)
    before = copy.deepcopy(model.state_dict())
    nothing_is_sparse = reasons.keys() == masks.keys()
    message = "^to_sparse made no layer sparse: '.*' stays dense, because .* and 3 others are dense"
    with pytest.warns(phew.LeftDenseWarning, match=message) if nothing_is_sparse else nullcontext():
        report = phew.to_sparse(model, masks)
    assert report.left_dense == reasons
    for each in reasons:
        parameter = model.get_parameter(each)
        assert (parameter[~masks[each]] == 0).all()
        parameter.grad = None
        (parameter * torch.ones_like(parameter)).sum().abs().backward()
        assert (parameter.grad[~masks[each]] == 0).all()
    for each in masks.keys() - reasons.keys():
        assert model.get_parameter(each).shape == (int(masks[each].sum()),)
    assert phew.to_dense(model) == masks
    assert [*model.state_dict()] == [*before]
    assert_masked(model, masks)


@pytest.mark.parametrize("is_run", [True, False])
def test_weights_that_others_read_are_seen_in_a_run_and_in_code(is_run: bool) -> None:
    model = Reads()
    masks = held(model)
    x = torch.randn(2, 4)
    expected = model(x)
    report = phew.to_sparse(model, masks, example_inputs=x if is_run else None)
    assert report.left_dense == {"read.weight": "it is read by other code than its layer"}
    torch.testing.assert_close(model(x), expected)


def test_a_mask_that_keeps_most_leaves_its_layer_dense() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    numbers = torch.arange(16).view(4, 4)
    masks = phew.Masks({"0.weight": numbers < 8, "1.weight": numbers < 9, "2.weight": numbers < 16})
    report = phew.to_sparse(model, masks)
    reason = "little is gained where more than 50% is kept"
    assert report.left_dense == {"1.weight": reason, "2.weight": reason}
    assert phew.to_dense(model) == masks


def test_subclasses_with_the_forward_of_their_parent_are_converted() -> None:
    model = nn.Sequential(Named(4, 4))
    masks = held(model)
    phew.to_sparse(model, masks)
    assert type(model[0]) is phew.sparse.Linear
    phew.to_dense(model)
    assert type(model[0]) is Named


def test_the_linear_layers_of_gpt2_are_converted() -> None:
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    model = nn.Sequential(Conv1D(6, 4), nn.ReLU(), Conv1D(3, 6))
    masks = held(model)
    state = {name: each.clone() for name, each in model.state_dict().items()}
    x = torch.randn(2, 5, 4)
    expected = model(x)
    report = phew.to_sparse(model, masks, example_inputs=x)
    assert report.left_dense == {}
    assert report.total.num_operations == 10 * masks.num_kept
    torch.testing.assert_close(model(x), expected)
    assert model[0].dense_weight().equal(state["0.weight"])
    assert model[0].dense_shape == (4, 6)
    other = nn.Sequential(Conv1D(6, 4), nn.ReLU(), Conv1D(3, 6))
    assert masks_of_state(other, model.state_dict()) == masks
    with torch.no_grad():
        model[0].weight.zero_()
    model.load_state_dict(state)
    torch.testing.assert_close(model(x), expected)
    assert phew.to_dense(model) == masks
    assert type(model[0]) is Conv1D
    assert all(each.equal(state[name]) for name, each in model.state_dict().items())


def test_layers_of_timm_are_converted() -> None:
    import zoo  # noqa: F401, declares the operators without which timm cannot be imported
    from timm.layers import Conv2dSame, Linear
    from timm.layers.std_conv import StdConv2d

    model = nn.Sequential(
        Conv2dSame(3, 4, 3, stride=2),
        Conv2dSame(4, 4, (2, 5), dilation=2, groups=2),
        StdConv2d(4, 4, 1),
        nn.Flatten(),
        Linear(4 * 4 * 3, 2),
    )
    masks = held(model)
    x = torch.randn(2, 3, 7, 6)
    expected = model(x)
    report = phew.to_sparse(model, masks, example_inputs=x)
    assert report.left_dense == {"2.weight": "StdConv2d has a forward of its own"}
    torch.testing.assert_close(model(x), expected)
    phew.to_dense(model)
    torch.testing.assert_close(model(x), expected)
    assert type(model[0]) is Conv2dSame


@pytest.mark.slow
def test_a_transformer_of_torch_runs_fused_and_unfused() -> None:
    model = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    masks = held(model)
    x = torch.randn(2, 3, 8)
    model.eval()
    with torch.inference_mode():
        expected = model(x)
    with pytest.warns(phew.LeftDenseWarning, match="made no layer sparse: .* 7 others are dense"):
        phew.to_sparse(model, masks, example_inputs=x)
    torch.testing.assert_close(model(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Any]:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield torch.distributed.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_sharded_weights_stay_dense(mesh: Any) -> None:
    model = signal_network()
    masks = held(model)
    fully_shard(model, mesh=mesh)
    with pytest.warns(phew.LeftDenseWarning, match="made no layer sparse: .* it is sharded"):
        report = phew.to_sparse(model, masks, example_inputs=torch.zeros(1, 2, 8))
    assert report.left_dense == dict.fromkeys(masks, "it is sharded")
    assert report.note == "the model is sharded"
    train(model)
    for name, mask in masks.items():
        assert not model.get_parameter(name).full_tensor()[~mask].any()


@pytest.mark.slow
def test_sparse_models_are_sharded(mesh: Any) -> None:
    model = signal_network()
    masks = held(model)
    x = torch.randn(3, 2, 8)
    expected = model(x)
    phew.to_sparse(model, masks)
    fully_shard(model[4], mesh=mesh)
    fully_shard(model, mesh=mesh)
    torch.testing.assert_close(model(x), expected)
    train(model)
    whole = StateDictOptions(full_state_dict=True)
    set_model_state_dict(model, get_model_state_dict(model, options=whole), options=whole)
    with pytest.raises(ValueError, match="must be a layer as") as error:
        phew.to_dense(model)
    assert str(error.value) == (
        "'4' must be a layer as phew.to_sparse makes it, got a FSDPLinear. Load its state into a "
        "sparse model that is not sharded or parametrised, and call phew.to_dense on that."
    )
    other = signal_network()
    phew.to_sparse(other, masks)
    other.load_state_dict(get_model_state_dict(model, options=whole))
    torch.testing.assert_close(other.eval()(x), model.eval()(x))
    assert phew.to_dense(other) == masks


def test_parameters_without_a_shape_are_left_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(3))
    masks = phew.Masks({"0.weight": torch.eye(4) > 0})
    report = phew.to_sparse(model, masks, example_inputs=torch.zeros(1, 4))
    assert report.note == "the model has parameters without a shape, which a run would make"
    assert model(torch.zeros(2, 4)).shape == (2, 3)
