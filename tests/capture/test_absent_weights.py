"""Weights that constants zero are no edges: of masked layers, and of networks pruned before."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, attr-defined, call-arg, misc, no-any-return, operator"
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.ao.pruning import WeightNormSparsifier
from torch.nn.utils import prune
from walk_options import with_options

import phew
from phew.walks.options import Options

pytestmark = [
    pytest.mark.filterwarnings("ignore::phew.LeftDenseWarning"),
    pytest.mark.filterwarnings("ignore::phew.CollapseWarning"),
]

Computed = Callable[[Tensor, Tensor], Tensor]
"""Computes a layer's weights of its parameter and its mask."""


class MaskedLinear(nn.Linear):
    def __init__(
        self, num_sources: int, num_targets: int, mask: Tensor, computed: Computed
    ) -> None:
        super().__init__(num_sources, num_targets)
        self.register_buffer("mask", mask)
        self.computed = computed

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.computed(self.weight, self.mask), self.bias)


class MaskedConv(nn.Conv2d):
    """A convolution of PixelCNN, which sees the pixels above and to the left."""

    def __init__(self, *sizes: int, sees_itself: bool) -> None:
        super().__init__(*sizes, padding=sizes[-1] // 2)
        mask = torch.ones_like(self.weight)
        middle = sizes[-1] // 2
        mask[:, :, middle, middle + sees_itself :] = 0
        mask[:, :, middle + 1 :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


def mask_of(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3)) < 0.5


def masked_network(computed: Computed, mask: Tensor) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, mask.shape[1]),
        MaskedLinear(*mask.shape[::-1], mask, computed),
        nn.ReLU(),
        nn.Linear(mask.shape[0], 3),
    )


def absent_of(model: nn.Module, inputs: Tensor, parameter: str) -> list[Tensor | None]:
    graph = phew.capture(model, inputs)
    return [graph.weighted[index].absent for index in graph.links_of[parameter]]


MASKED: dict[str, Computed] = {
    "mul": lambda weight, mask: weight * mask,
    "mul by a computed mask": lambda weight, mask: (1 - (~mask).float()) * weight,
    "mul in place": lambda weight, mask: weight.clone().mul_(mask),
    "where": lambda weight, mask: torch.where(mask, weight, 0.0),
    "where not": lambda weight, mask: torch.where(~mask, torch.zeros_like(weight), weight),
    "masked_fill": lambda weight, mask: weight.masked_fill(~mask, 0.0),
    "masked_fill_": lambda weight, mask: weight.clone().masked_fill_(~mask, 0),
    "transposed": lambda weight, mask: (weight.t() * mask.t()).t(),
    "viewed": lambda weight, mask: (weight.view(3, 4, 10) * mask.view(3, 4, 10)).flatten(0, 1),
    "scaled after": lambda weight, mask: 0.5 * (weight * mask) / weight.norm(),
    "cast": lambda weight, mask: torch.mul(weight.bfloat16(), mask).float(),
    "viewed as flat": lambda weight, mask: (weight.flatten() * mask.flatten()).view(12, 10),
    "chosen twice": lambda weight, mask: torch.where(
        mask | ~mask.roll(1), torch.where(mask | mask.roll(1), weight, 0.0), 0.0
    ),
    "two masks": lambda weight, mask: weight * (mask | mask.roll(1)) * (mask | ~mask.roll(1)),
}


@pytest.mark.parametrize("name", MASKED)
def test_elements_that_a_constant_zeroes_are_absent(name: str) -> None:
    mask = mask_of(12, 10)
    model = masked_network(MASKED[name], mask)
    (absent,) = absent_of(model, torch.zeros(1, 6), "1.weight")
    assert absent is not None
    assert absent.equal(~mask)
    assert absent_of(model, torch.zeros(1, 6), "0.weight") == [None]


@pytest.mark.parametrize(
    ("computed", "kept"),
    [
        (lambda weight, mask: weight.tril(), torch.ones(12, 10).tril()),
        (lambda weight, mask: weight.triu(2), torch.ones(12, 10).triu(2)),
        (lambda weight, mask: weight.t().tril(-1).t(), torch.ones(12, 10).triu(1)),
        (lambda weight, mask: weight * mask[:, :1], mask_of(12, 10)[:, :1].expand(12, 10)),
    ],
)
def test_triangles_and_rows_are_absent(computed: Computed, kept: Tensor) -> None:
    (absent,) = absent_of(masked_network(computed, mask_of(12, 10)), torch.zeros(1, 6), "1.weight")
    assert absent is not None
    assert absent.equal(kept == 0)


@pytest.mark.parametrize(
    "computed",
    [
        lambda weight, mask: weight * (mask + 0.5),
        lambda weight, mask: weight * torch.bernoulli(torch.full((12, 10), 0.5)),
        lambda weight, mask: weight * (torch.rand(12, 10) < 0.5),
        lambda weight, mask: weight.masked_fill(mask, 0.5),
        lambda weight, mask: torch.where(mask, weight, 2 * weight),
        lambda weight, mask: weight * mask + 1,
        lambda weight, mask: weight * mask + (weight * ~mask).roll(1),
        lambda weight, mask: (weight * mask).exp(),
    ],
)
def test_what_is_not_zero_in_every_run_is_not_absent(computed: Computed) -> None:
    model = masked_network(computed, mask_of(12, 10))
    assert absent_of(model, torch.zeros(1, 6), "1.weight") == [None]


def test_a_frozen_parameter_of_zeros_and_ones_is_a_mask() -> None:
    model = masked_network(lambda weight, mask: weight * mask, mask_of(12, 10))
    del model[1].mask
    model[1].mask = nn.Parameter(mask_of(12, 10).float(), requires_grad=False)
    (absent,) = absent_of(model, torch.zeros(1, 6), "1.weight")
    assert absent is not None
    assert absent.equal(~mask_of(12, 10))
    assert "1.mask" not in phew.capture(model, torch.zeros(1, 6)).prunable


def test_a_parameter_that_is_masked_in_each_forward_pass_lacks_weights_from_the_first() -> None:
    def masked(weight: Tensor, mask: Tensor) -> Tensor:
        weight.data *= mask | mask.roll(1)
        weight.data *= mask | ~mask.roll(1)
        return weight

    def masked_without_gradient(weight: Tensor, mask: Tensor) -> Tensor:
        with torch.no_grad():
            weight.masked_fill_(~mask, 0)
        return weight

    mask = mask_of(12, 10)
    for computed in (masked, masked_without_gradient):
        model = masked_network(computed, mask)
        with torch.no_grad():
            model[1].weight[0, 0] = 0
        before = model[1].weight.detach().clone()
        (absent,) = absent_of(model, torch.zeros(1, 6), "1.weight")
        assert absent is not None
        assert absent.equal(~mask)
        assert model[1].weight.equal(before)


def test_the_slices_of_a_masked_projection_have_the_masks_of_their_rows() -> None:
    mask = mask_of(8, 5)

    class Heads(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            query, key = (self.weight * mask).chunk(2)
            return F.linear(x, query) + F.linear(x, key)

    model = nn.Sequential(nn.Linear(3, 5), Heads(5, 8), nn.Linear(4, 2))
    graph = phew.capture(model, torch.zeros(1, 3))
    query, key = (graph.weighted[index] for index in graph.links_of["1.weight"])
    assert query.is_edge.flatten().equal(mask[:4].flatten())
    assert key.is_edge.flatten().equal(mask[4:].flatten())


def test_an_element_that_is_several_edges_is_absent_where_all_of_them_are() -> None:
    class Shared(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            masks = torch.tensor([[1, 0, 0], [1, 1, 0]])
            weight = self.weight.expand(2, 4, 3) * masks[:, None]
            return torch.bmm(x.expand(2, *x.shape), weight.transpose(1, 2)).sum(0)

    model = nn.Sequential(nn.Linear(2, 3), Shared(3, 4), nn.Linear(4, 2))
    for absent in absent_of(model, torch.zeros(1, 2), "1.weight"):
        assert absent is not None
        assert absent.tolist() == [[False, False, True]] * 4


def made() -> nn.Sequential:
    """MADE, whose outputs depend on earlier inputs alone: the first on none."""
    inputs, hidden = torch.arange(8), torch.arange(32) % 7
    multiply = MASKED["mul"]
    return nn.Sequential(
        MaskedLinear(8, 32, hidden[:, None] >= inputs, multiply),
        nn.ReLU(),
        MaskedLinear(32, 8, inputs[:, None] > hidden, multiply),
    )


def pixel_cnn() -> nn.Sequential:
    return nn.Sequential(
        MaskedConv(3, 8, 5, sees_itself=False),
        nn.ReLU(),
        MaskedConv(8, 8, 3, sees_itself=True),
        nn.ReLU(),
        nn.Conv2d(8, 6, 1),
    )


def pruned_before() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    prune.l1_unstructured(model[0], "weight", amount=0.7)
    prune.random_structured(model[2], "weight", amount=0.25, dim=1)
    return model


def sparsified_before() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4))
    sparsifier = WeightNormSparsifier(0.7, (1, 1), 1)
    sparsifier.prepare(model, [{"tensor_fqn": "0.weight"}])
    sparsifier.step()
    return model


def couplings() -> nn.Module:
    """RealNVP, whose masks are of features: its layers have no absent weights."""

    class Coupling(nn.Module):
        def __init__(self, mask: Tensor) -> None:
            super().__init__()
            self.register_buffer("mask", mask)
            self.scale, self.shift = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            kept = x * self.mask
            changed = x * self.scale(kept).exp() + self.shift(kept)
            return kept + (1 - self.mask) * changed

    mask = torch.arange(6) % 2.0
    return nn.Sequential(nn.Linear(4, 6), Coupling(mask), Coupling(1 - mask), nn.Linear(6, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, str]]] = {
    "MADE": (made, (8,), {"0.weight": "0.mask", "2.weight": "2.mask"}),
    "PixelCNN": (pixel_cnn, (3, 8, 8), {"0.weight": "0.mask", "2.weight": "2.mask"}),
    "torch.nn.utils.prune": (
        pruned_before,
        (16,),
        {"0.weight_orig": "0.weight_mask", "2.weight_orig": "2.weight_mask"},
    ),
    "torch.ao.pruning": (
        sparsified_before,
        (16,),
        {"0.parametrizations.weight.original": "0.parametrizations.weight.0.mask"},
    ),
    "RealNVP": (couplings, (4,), {}),
}

with_networks = pytest.mark.parametrize("name", NETWORKS)


def network(name: str) -> tuple[nn.Module, Tensor, dict[str, Tensor]]:
    """Return a network, its input, and the masks of its weights."""
    build, shape, masks = NETWORKS[name]
    torch.manual_seed(0)
    model = build()
    buffers = dict(model.named_buffers())
    return model, torch.zeros(1, *shape), {each: buffers[masks[each]] != 0 for each in masks}


def kept_under_a_zero(kept: phew.Masks, masks: dict[str, Tensor]) -> int:
    return sum(int((kept[name] & ~mask).sum()) for name, mask in masks.items())


@with_networks
def test_absent_weights_are_those_under_a_zero(name: str) -> None:
    model, inputs, masks = network(name)
    graph = phew.capture(model, inputs)
    found = {
        link.parameter: ~link.absent for link in graph.weighted.values() if link.absent is not None
    }
    assert found.keys() == masks.keys()
    assert all(found[each].equal(masks[each]) for each in masks)


@with_networks
@with_options
def test_no_mask_keeps_a_weight_under_a_zero(name: str, options: Options) -> None:
    model, inputs, masks = network(name)
    kept = phew.sample_masks(model, inputs, density=0.1, **vars(options))
    assert kept.num_kept >= round(0.1 * kept.num_weights)
    assert kept_under_a_zero(kept, masks) == 0


@with_networks
def test_walks_reach_every_weight_that_has_a_gradient(name: str) -> None:
    model, inputs, _ = network(name)
    model(torch.rand(2, *inputs.shape[1:])).square().sum().backward()
    graph = phew.capture(model, inputs)
    every = {
        each: torch.ones(graph.parameters[each].shape, dtype=torch.bool) for each in graph.prunable
    }
    effective = phew.analysis.effective_masks(graph, masks=every)
    share = sum(int(mask.sum()) for mask in effective.values()) / graph.num_prunable_weights
    for each, parameter in graph.parameters.items():
        assert parameter.grad is not None
        # Units that a ReLU switches off have no gradient for these inputs.
        assert not (parameter.grad.bool() & ~effective[each]).any()
    kept = phew.sample_masks(graph, density=share)
    assert all(kept[each].equal(effective[each]) for each in effective)


@pytest.mark.filterwarnings("ignore::phew.CollapseWarning")
@with_networks
def test_no_baseline_keeps_a_weight_under_a_zero(name: str) -> None:
    model, inputs, masks = network(name)
    loss = partial(_loss, torch.rand(4, *inputs.shape[1:]))
    for method in (
        phew.baselines.magnitude,
        phew.baselines.random,
        partial(phew.baselines.random, scope="layer"),
        phew.baselines.erk,
        phew.baselines.synflow,
        phew.baselines.synflow_l2,
        partial(phew.baselines.snip, loss=loss),
        partial(phew.baselines.grasp, loss=loss),
    ):
        kept = method(model, inputs, density=0.25)
        assert kept.num_kept == round(0.25 * kept.num_weights)
        assert kept_under_a_zero(kept, masks) == 0


def _loss(inputs: Tensor, model: nn.Module) -> Tensor:
    return model(inputs).square().sum()


def test_a_density_out_of_reach_says_that_a_constant_zeroes_weights() -> None:
    model, inputs, _ = network("torch.ao.pruning")
    expected = (
        r"density 0.5 is out of reach: walks reach 44\.0% of the prunable weights; no walk takes "
        r"717 weights of '0\.parametrizations\.weight\.original': a constant of the model zeroes "
        r"717\. Lower the density\."
    )
    with pytest.raises(ValueError, match=expected):
        phew.sample_masks(model, inputs, density=0.5)
    expected = (
        r"density 0.5 is out of reach: constants of the model zero weights of "
        r"'0\.parametrizations\.weight\.original', which leaves 44\.0% of the prunable weights\. "
        r"Lower the density\."
    )
    with pytest.raises(ValueError, match=expected):
        phew.baselines.magnitude(model, inputs, density=0.5)


def test_a_mask_without_values_is_an_error() -> None:
    with torch.device("meta"):
        model = masked_network(MASKED["mul"], mask_of(12, 10).to("meta"))
    with pytest.raises(ValueError, match=r"model must hold the values of buffer '1\.mask'"):
        phew.capture(model, torch.zeros(1, 6))
