"""Masks tell the weights that they were made from: other weights are warned of, and only these."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import COLOUR_IMAGE
from torch import nn

import phew
from phew import Masks, OtherWeightsWarning, baselines
from phew.graph.digests import digests_of_values, grid_of


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return phew.models.resnet_cifar(8)


@pytest.fixture(scope="module")
def masks() -> Masks:
    return phew.sample_masks(network(0), COLOUR_IMAGE, density=0.1)


def trained(model: nn.Module, steps: int = 2) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    return model


def pruned(masks: Masks, rescale: bool = False) -> nn.Module:
    model = network(0)
    masks.apply(model, rescale="auto" if rescale else "none")
    return model


def resumed(masks: Masks) -> nn.Module:
    """A model of other initial weights that has the state of a training run."""
    model = network(1)
    model.load_state_dict(trained(pruned(masks)).state_dict())
    return model


def pruned_less(masks: Masks) -> nn.Module:
    """A model that was trained under masks of a higher density, which these are to follow."""
    model = network(0)
    phew.prune(model, COLOUR_IMAGE, density=0.5)
    return trained(model)


def channels_last(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def made_dense(masks: Masks) -> nn.Module:
    model = network(0)
    phew.to_sparse(model, masks)
    phew.to_dense(trained(model))
    return model


LEGITIMATE: dict[str, Callable[[Masks], nn.Module]] = {
    "the same model": lambda masks: network(0),
    "a copy": lambda masks: copy.deepcopy(network(0)),
    "another order of memory": lambda masks: channels_last(network(0)),
    "another type": lambda masks: network(0).bfloat16(),
    "pruned": pruned,
    "rescaled": lambda masks: pruned(masks, rescale=True),
    "trained under the masks": lambda masks: trained(pruned(masks)),
    "resumed": resumed,
    "trained under masks that keep more": pruned_less,
    "made dense": made_dense,
}


@pytest.mark.parametrize("kind", LEGITIMATE)
@pytest.mark.parametrize("is_loaded", [False, True])
def test_masks_do_not_warn_where_they_belong(
    kind: str, is_loaded: bool, masks: Masks, tmp_path: Path
) -> None:
    if is_loaded:
        masks.save(tmp_path / "masks.safetensors")
        masks = Masks.load(tmp_path / "masks.safetensors")
    model = LEGITIMATE[kind](masks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masks.apply(copy.deepcopy(model), rescale="auto")
        phew.to_sparse(model, masks)


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "another seed": lambda: network(1),
    "trained without masks": lambda: trained(network(0)),
    "another seed of 16 bits": lambda: network(1).half(),
}


WITHOUT_WEIGHTS: dict[str, Callable[[nn.Module], Masks]] = {
    "random": lambda model: baselines.random(model, COLOUR_IMAGE, density=0.1),
    "random by layer": lambda model: baselines.random(
        model, COLOUR_IMAGE, density=0.1, scope="layer"
    ),
    "ERK": lambda model: baselines.erk(model, COLOUR_IMAGE, density=0.1),
    "walks of power 0": lambda model: phew.sample_masks(model, COLOUR_IMAGE, density=0.1, power=0),
}


@pytest.mark.parametrize("kind", WITHOUT_WEIGHTS)
def test_masks_that_do_not_depend_on_weights_belong_to_any(kind: str, tmp_path: Path) -> None:
    masks = WITHOUT_WEIGHTS[kind](network(0))
    assert masks == WITHOUT_WEIGHTS[kind](network(1))
    assert masks.digests == {}
    assert "weights" not in masks.info
    masks.save(tmp_path / "masks.safetensors")
    Masks.load(tmp_path / "masks.safetensors").apply(network(1))


def test_masks_without_weights_depend_on_those_of_rows_that_a_norm_divides() -> None:
    def normalised(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        first = nn.utils.parametrizations.weight_norm(nn.Linear(8, 64))
        return nn.Sequential(first, nn.ReLU(), nn.Linear(64, 8))

    masks = baselines.random(normalised(0), torch.zeros(1, 8), density=0.05)
    name = "0.parametrizations.weight.original1"
    assert masks.digests.keys() == {name}
    assert masks != baselines.random(normalised(1), torch.zeros(1, 8), density=0.05)
    with pytest.warns(OtherWeightsWarning, match=f"than the model has, in {name!r}. "):
        masks.apply(normalised(1))


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("use", [lambda masks, model: masks.apply(model), phew.to_sparse])
def test_other_weights_are_warned_of_at_the_line_of_the_caller(
    kind: str, use: Callable[..., object], masks: Masks
) -> None:
    model = OTHERS[kind]()
    if next(model.parameters()).dtype == torch.float16:
        masks = phew.sample_masks(network(0).half(), COLOUR_IMAGE.half(), density=0.1)
    expected = "than the model has, in 'stem.0.0.weight', .* and [0-9]+ more. Before .* load those"
    arguments = (masks, model) if use is not phew.to_sparse else (model, masks)
    with pytest.warns(OtherWeightsWarning, match=expected) as caught:
        use(*arguments)
    assert [warning.filename for warning in caught] == [__file__]


def test_only_parameters_whose_weights_differ_are_named(masks: Masks) -> None:
    model = network(0)
    with torch.no_grad():
        model.get_parameter("classifier.weight").normal_()
    with pytest.warns(OtherWeightsWarning, match=r"the model has, in 'classifier\.weight'\. "):
        masks.apply(model)


def test_parameters_of_a_trained_model_that_were_drawn_anew_are_named(masks: Masks) -> None:
    redrawn = [name for name in masks if name != "stages.2.0.branch.2.0.weight"]
    for names in (redrawn, ["classifier.weight"]):
        model = trained(pruned(masks))
        phew.release(model)
        with torch.no_grad():
            for name in names:
                model.get_parameter(name).normal_()
        with pytest.warns(OtherWeightsWarning) as caught:
            masks.apply(model)
        said = str(caught[0].message)
        assert f"than the model has, in {names[0]!r}" in said
        assert ("and 4 more. Before" in said) == (len(names) == 9)


@pytest.mark.parametrize(("num_pruned", "named"), [(0, "'0'"), (6, "'0'"), (7, "'0', '1'")])
def test_parameters_that_are_kept_nearly_whole_are_not_judged_alone(
    num_pruned: int, named: str
) -> None:
    """Two parameters were redrawn: half of '0' is pruned, and up to 7 of the 64 weights of '1'."""
    torch.manual_seed(0)
    parameters = {name: torch.randn(8, 8) for name in "012"}
    kept = torch.arange(64).view(8, 8) >= num_pruned
    half = torch.arange(64).view(8, 8) % 2 == 0
    masks = Masks({"0": half, "1": kept, "2": half}, digests=digests_of_values(parameters))
    model = nn.ParameterDict({name: torch.randn(8, 8) for name in "012"})
    with torch.no_grad():
        model["2"] *= half
    with pytest.warns(OtherWeightsWarning, match=rf"the model has, in {named}\. "):
        masks.apply(copy.deepcopy(model))
    # Without a parameter that was trained under the masks, all are other weights.
    model["2"] = parameters["2"]
    with pytest.warns(OtherWeightsWarning, match=r"the model has, in '0', '1'\. "):
        masks.apply(model)


def test_a_warning_that_is_an_error_leaves_the_model_as_it_was(masks: Masks) -> None:
    model = network(1)
    state = copy.deepcopy(model.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherWeightsWarning)
        with pytest.raises(OtherWeightsWarning):
            masks.apply(model)
    torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
    assert not phew.is_pruned(model)


def test_masks_from_elsewhere_know_no_weights(masks: Masks) -> None:
    for own in (Masks(dict(masks)), Masks.of(pruned(masks))):
        assert own.digests == {}
        own.apply(network(1))


def test_every_way_to_masks_tells_the_same_weights(masks: Masks) -> None:
    magnitude = phew.baselines.magnitude(network(0), COLOUR_IMAGE, density=0.1)
    sparse = network(0)
    phew.to_sparse(sparse, masks)
    for own in (magnitude, masks | magnitude, masks & magnitude, phew.to_dense(sparse)):
        assert own.digests == masks.digests
        assert [own.info[key] for key in ("graph", "weights")] == [
            masks.info[key] for key in ("graph", "weights")
        ]
    other = phew.sample_masks(network(1), COLOUR_IMAGE, density=0.1)
    assert other.info["graph"] == masks.info["graph"]
    assert other.info["weights"] != masks.info["weights"]
    assert (masks | other).digests == {}
    assert (masks | other).info == {"graph": masks.info["graph"]}


def test_a_digest_is_of_values_in_any_order_of_memory() -> None:
    torch.manual_seed(0)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64):
        for shape in ((), (0, 3), (5000,), (300, 70), (9, 40, 3), (70, 90, 3, 3), (3, 3, 3, 3, 70)):
            values = torch.randn(shape).to(dtype)
            order = [*range(values.dim())][::-1]
            turned = values.permute(order).contiguous().permute(order)
            unaligned = torch.cat([values.new_zeros(1), values.flatten()])[1:].view(shape)
            on_gpu = values.to("cuda" if torch.cuda.is_available() else "cpu")
            digests = digests_of_values({"a": values, "b": turned, "c": unaligned, "d": on_gpu})
            assert len(set(digests.values())) == 1
            assert digests["a"].startswith(f"{dtype}".removeprefix("torch."))
            if values.numel():
                assert digests_of_values({"a": values + 1})["a"] != digests["a"]


@pytest.mark.parametrize(
    ("shape", "numbers"),
    [
        ((), ()),
        ((0, 3), (0, 3)),
        ((1024, 1, 1, 1), (1024, 1, 1, 1)),
        ((1, 5000), (1, 1000)),
        ((2, 5000), (2, 455)),
        ((300, 4096), (28, 36)),
        ((64, 64), (22, 22)),
        ((512, 512, 3, 3), (10, 11, 3, 3)),
    ],
)
def test_a_digest_is_of_up_to_1024_values_whatever_the_shape(
    shape: tuple[int, ...], numbers: tuple[int, ...]
) -> None:
    assert torch.zeros(shape)[grid_of(shape)].shape == numbers


def test_weights_of_which_every_second_row_or_column_is_drawn_anew_are_others() -> None:
    values = torch.ones(64, 64)
    for part in (values[::2], values[1::2], values[:, ::2], values[:, 1::2]):
        before = digests_of_values({"a": values})
        part += 1
        assert digests_of_values({"a": values}) != before


@pytest.mark.parametrize(
    ("digests", "error"),
    [
        ({"weight": 3}, r"digests\['weight'\] must be a str, got 3"),
        ({"bias": "float32 5feceb66ffc86f38"}, r"digests must name masks, got 'bias'"),
    ],
)
def test_digests_that_are_of_no_mask_are_refused(digests: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        Masks({"weight": torch.ones(2, 3, dtype=torch.bool)}, digests=digests)
