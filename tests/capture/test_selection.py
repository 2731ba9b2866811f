"""The caller's selection decides which parameters are pruned, and the others have a reason."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import phew
from phew.capture.selection import Selection, why_not_prunable

ROW = torch.zeros(1, 4)


class Net(nn.Module):
    """A convolution, a norm, linear layers of one weight, and parameters that are no weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 1)
        self.norm = nn.LayerNorm(4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.head = nn.Linear(4, 2)
        self.position = nn.Parameter(torch.zeros(1, 4))
        self.scale = nn.Parameter(torch.ones(()))
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.unsqueeze(1)).mean(dim=2)
        x = self.norm(x + self.position) * self.scale
        return self.head(self.second(self.first(x)))


def prunable(model: nn.Module, **options: Any) -> set[str]:
    return set(phew.capture(model, ROW, **options).prunable)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"conv.weight", "first.weight", "head.weight"}),
        ({"include": None}, {"conv.weight", "first.weight", "head.weight"}),
        ({"include": ["*"]}, {"conv.weight", "first.weight", "head.weight"}),
        ({"include": ["head.*", "co??.weight"]}, {"conv.weight", "head.weight"}),
        ({"include": [nn.Linear]}, {"first.weight", "head.weight"}),
        ({"include": (nn.Conv1d, "head.weight")}, {"conv.weight", "head.weight"}),
        ({"exclude": [nn.Linear]}, {"conv.weight"}),
        ({"exclude": ["head.*", nn.LayerNorm]}, {"conv.weight", "first.weight"}),
        ({"include": [nn.Linear], "exclude": ["head.*"]}, {"first.weight"}),
        # A tied parameter goes by any of its names.
        ({"exclude": ["second.*"]}, {"conv.weight", "head.weight"}),
        ({"include": ["second.weight"]}, {"first.weight"}),
        # A class stands for its subclasses, and for what its modules own, not what they contain.
        ({"exclude": [nn.modules.conv._ConvNd]}, {"first.weight", "head.weight"}),
        ({"include": ["*"], "exclude": [Net]}, {"conv.weight", "first.weight", "head.weight"}),
    ],
)
def test_include_and_exclude(options: dict[str, Any], expected: set[str]) -> None:
    model = Net()
    assert prunable(model, **options) == expected
    masks = phew.sample_masks(model, ROW, density=0.5, **options)
    assert set(masks) == expected


def test_prune_passes_the_selection_on() -> None:
    model = Net()
    masks = phew.prune(model, ROW, density=0.5, include=[nn.Linear], exclude=["head.*"])
    assert list(masks) == ["first.weight"]
    assert bool(model.head.weight.all())


def test_a_type_selects_what_its_weights_are_computed_from() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    parametrizations.weight_norm(model[0])
    names = {"0.parametrizations.weight.original0", "0.parametrizations.weight.original1"}
    selection = Selection(model, [nn.Linear], ["1.*"])
    assert selection.included == {"0.bias", *names}


class Lookup(nn.Module):
    """An embedding, and an output layer of the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.hidden = nn.Linear(4, 4)
        self.output = nn.Linear(4, 6, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.hidden(self.embedding(x)))


TOKENS = torch.tensor([[0, 3]])


def test_a_lookup_is_an_entry_even_if_it_is_tied() -> None:
    graph = phew.capture(Lookup(), TOKENS)
    assert graph.prunable == ("hidden.weight",)
    assert [graph.spaces[space].num_units for space in graph.entries] == [4]
    assert graph.notes.not_prunable["embedding.weight"] == (
        "lookup embedding (pruned where include names it)"
    )


@pytest.mark.parametrize(
    "include", [["*"], [nn.Embedding, "hidden.weight"], ["output.weight", nn.Linear]]
)
def test_a_lookup_is_pruned_where_it_is_included(include: Sequence[Any]) -> None:
    graph = phew.capture(Lookup(), TOKENS, include=include)
    assert graph.prunable == ("embedding.weight", "hidden.weight")
    assert [graph.spaces[space].num_units for space in graph.entries] == [6]


def test_exclude_wins_over_include() -> None:
    graph = phew.capture(Lookup(), TOKENS, include=["*"], exclude=[nn.Embedding])
    assert graph.prunable == ("hidden.weight",)
    assert graph.notes.not_prunable["embedding.weight"] == "excluded by Embedding"


def test_every_other_parameter_has_a_reason() -> None:
    model = Net()
    graph = phew.capture(model, ROW, exclude=["head.weight", nn.Conv1d])
    names = [name for name, _ in model.named_parameters()]
    assert [name for name in names if name not in graph.prunable] == list(graph.notes.not_prunable)
    vector = "vector (bias, normalisation, ...)"
    unused = "never used by the example inputs"
    reasons = dict(graph.notes.not_prunable)
    use = reasons.pop("position")
    assert reasons == {
        "scale": "scalar",
        "conv.weight": "excluded by Conv1d",
        "conv.bias": "excluded by Conv1d",
        "norm.weight": vector,
        "norm.bias": vector,
        "first.bias": vector,
        "second.bias": vector,
        "head.weight": "excluded by 'head.weight'",
        "head.bias": vector,
        "unused.weight": unused,
        "unused.bias": unused,
    }
    assert use == "not a weight of a link: used by add"


def test_the_callers_reason_comes_first() -> None:
    model = nn.Linear(4, 2)
    reasons = why_not_prunable(
        model,
        Selection(model, ["weight"], ["weight"]),
        prunable=[],
        by_request=dict.fromkeys(["weight", "bias"], "lookup embedding"),
        uses={"weight": "mul"},
    )
    assert reasons == {"weight": "excluded by 'weight'", "bias": "not in include"}


def test_not_prunable_of_what_is_included_alone() -> None:
    graph = phew.capture(Net(), ROW, include=["head.*"])
    assert graph.notes.not_prunable["conv.weight"] == "not in include"
    assert graph.notes.not_prunable["head.bias"] == "vector (bias, normalisation, ...)"


@pytest.mark.parametrize("argument", ["include", "exclude"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (5, TypeError, r"must be a name pattern, a module .*, or a sequence of these, got 5\."),
        ([5], TypeError, r"must be a name pattern, .*, or a sequence of these, got \[5\]\."),
        ([Tensor], TypeError, r"must be a name pattern, .*, or a sequence of these, got "),
        (nn.Linear(4, 2), ValueError, "must match parameters, got a Linear, which matches none"),
        (["head.*"], ValueError, r"must match parameters, got 'head\.\*', which matches none"),
        ([nn.Conv2d], ValueError, "must match parameters, got Conv2d, which matches none"),
        (["WEIGHT"], ValueError, r"got 'WEIGHT', .* The model's are: 'weight', 'bias', \.\.\."),
    ],
)
def test_bad_selections(argument: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=rf"^{argument} must.*{message.removeprefix('must')}"):
        phew.capture(nn.Linear(4, 2), ROW, **{argument: value})


def test_exclude_none_is_no_selection() -> None:
    with pytest.raises(TypeError, match=r"exclude must be a name pattern, .*, got None\."):
        phew.capture(nn.Linear(4, 2), ROW, exclude=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("one", [True, False])
def test_one_selector_may_stand_alone(one: bool) -> None:
    net = Net()
    for selector in ("head.weight", "head", "h?ad", net.head):
        graph = phew.capture(net, ROW, exclude=selector if one else [selector])
        assert graph.prunable == ("conv.weight", "first.weight")
        included = phew.capture(net, ROW, include=selector if one else (selector,))
        assert included.prunable == ("head.weight",)
    assert phew.capture(net, ROW, exclude=nn.Linear).prunable == ("conv.weight",)


def test_a_module_stands_for_what_is_in_it() -> None:
    inner = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4)))
    model = nn.Sequential(OrderedDict(body=inner, head=nn.Linear(4, 2)))
    for selector in (inner, "body", "bod*"):
        assert phew.capture(model, ROW, exclude=selector).prunable == ("head.weight",)
    assert phew.capture(model, ROW, include="body.1").prunable == ("body.1.0.weight",)


@pytest.mark.parametrize("wrap", [nn.DataParallel, partial(torch.compile, backend="eager")])
def test_names_are_those_inside_of_wrappers(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    wrapped = wrap(model)
    masks = phew.sample_masks(wrapped, ROW, density=0.5, exclude="2")
    assert masks == phew.sample_masks(model, ROW, density=0.5, exclude="2")
    assert [*masks] == ["0.weight"]
    for method in (phew.baselines.magnitude, phew.baselines.synflow):
        assert [*method(wrapped, ROW, density=0.5, exclude="2")] == ["0.weight"]
    snip = phew.baselines.snip(wrapped, ROW, density=0.5, loss=lambda net: net(ROW).sum())
    assert [*snip] == ["0.weight", "2.weight"]
    masks.apply(wrapped)
    assert phew.is_pruned(wrapped)
    assert phew.Masks.of(wrapped) == phew.Masks(masks)
    assert not masks.check(wrapped)
    phew.release(wrapped)
    assert not phew.is_pruned(model)
    phew.to_sparse(wrapped, masks)
    assert isinstance(model[0], phew.sparse.Linear)
    phew.to_dense(wrapped)
    assert isinstance(model[0], nn.Linear)


def test_exclude_of_a_model_without_parameters() -> None:
    with pytest.raises(ValueError, match=r"got 'weight', which matches none\. .* are: none \(see"):
        phew.capture(nn.ReLU(), ROW, exclude=["weight"])


def test_excluding_all_leaves_nothing_to_prune() -> None:
    with pytest.raises(ValueError, match="model must have prunable weights"):
        phew.capture(nn.Linear(4, 2), ROW, exclude=["*"])


@pytest.mark.parametrize("include", [[], ["bias"], ["unused.weight"], ["position", nn.LayerNorm]])
def test_include_must_select_weights_of_a_link(include: list[Any]) -> None:
    model = nn.Linear(4, 2) if include == ["bias"] else Net()
    with pytest.raises(ValueError, match=r"include must select weights .*, got \[.*selects none"):
        phew.capture(model, ROW, include=include)


def test_a_graph_takes_no_selection() -> None:
    graph = phew.capture(nn.Linear(4, 2), ROW)
    with pytest.raises(TypeError, match=r"^include must be given to capture where model is a Walk"):
        phew.sample_masks(graph, density=0.5, include=[])


def test_other_dtypes_may_be_left_out_of_include() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model.register_parameter(
        "table", nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    )
    assert phew.capture(model, ROW, include=[nn.Linear]).prunable == ("0.weight", "1.weight")
