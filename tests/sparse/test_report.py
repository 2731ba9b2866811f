"""The report of a conversion counts what the network costs, and the run for it leaves no trace."""

from __future__ import annotations

# mypy: disable-error-code="union-attr,index,operator,arg-type,no-any-return"
import json

import torch
from masked_networks import random_masks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import phew


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=4),
        nn.Flatten(),
        nn.Linear(128, 4),
    )


def test_operations_are_those_that_torch_counts() -> None:
    model = network()
    x = torch.randn(2, 3, 8, 8)
    with FlopCounterMode(display=False) as counter:
        model(x)
    masks = random_masks(model)
    del (contents := dict(masks))["0.weight"]
    report = phew.to_sparse(model, contents, example_inputs=x)
    # torch counts a multiplication and an addition as two.
    assert 2 * report.total.num_dense_operations == counter.get_total_flops()
    # A weight of a convolution is used at 2 x 16 places, of the linear layer twice.
    kept = {name: int(mask.sum()) for name, mask in contents.items()}
    assert [row.num_operations for row in report.layers] == [
        32 * kept["2.weight"],
        2 * kept["4.weight"],
    ]
    assert report.others.num_operations == 32 * 8 * 27


def test_bytes_are_those_of_the_model() -> None:
    model = network()
    dense = sum(4 * parameter.numel() for parameter in model.parameters())
    report = phew.to_sparse(model, random_masks(model))
    own = sum(4 * parameter.numel() for parameter in model.parameters())
    places = [tensor for index in (0, 2, 4) for tensor in model[index].indices]
    places_bytes = sum(tensor.numel() * tensor.element_size() for tensor in places)
    assert report.total.num_bytes == own + places_bytes
    assert report.total.num_dense_bytes == dense
    assert report.total.num_kept == sum(parameter.numel() for parameter in model.parameters())


def test_weights_that_stay_dense_cost_what_dense_ones_do() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ConvTranspose1d(4, 2, 1))
    report = phew.to_sparse(model, random_masks(model), example_inputs=torch.zeros(1, 4, 4))
    sparse, dense = report.layers
    assert dense.num_bytes == dense.num_dense_bytes == 32
    assert dense.num_operations is None
    assert sparse.num_operations == 4 * sparse.num_kept


def test_the_table_says_what_is_dense_and_why() -> None:
    model = nn.Sequential(
        *(nn.Sequential(nn.Linear(16, 16), nn.Embedding(4, 4)) for _ in range(2)), nn.Linear(4, 8)
    )
    masks = {
        **{f"{index}.0.weight": torch.eye(16) > 0 for index in range(2)},
        **{f"{index}.1.weight": torch.eye(4) > 0 for index in range(2)},
        "2.weight": torch.arange(32).view(8, 4) > 15,
    }
    report = phew.to_sparse(model, masks)
    assert str(report).splitlines() == [
        "parameter          kept  weights  density  bytes  of dense  operations  of dense",
        "--------------------------------------------------------------------------------",
        "{0-1}.0.weight x2    16      256     6.2%    264     25.8%           -",
        "{0-1}.1.weight x2     4       16    25.0%     64    100.0%           -",
        "2.weight             16       32    50.0%    172    134.4%           -",
        "without masks        40       40   100.0%    160    100.0%           -",
        "--------------------------------------------------------------------------------",
        "total                96      616    15.6%    988     40.1%           -",
        "dense, because Embedding has no sparse form: {0-1}.1.weight",
        "no smaller than dense: 2.weight",
        "operations are not known: example_inputs were not given",
    ]
    assert report.no_smaller == ["2.weight"]
    assert [*report.left_dense] == ["0.1.weight", "1.1.weight"]


def test_numbers_are_what_json_can_hold() -> None:
    model = network()
    report = phew.to_sparse(model, random_masks(model))
    numbers = json.loads(json.dumps(report.as_dict()))
    assert numbers["total"]["num_kept"] == report.total.num_kept
    assert numbers["layers"][0]["name"] == "0.weight"
    assert numbers["note"] == report.note == "example_inputs were not given"


class Remembers(nn.Module):
    """It counts its calls, keeps a running sum, draws random numbers and its last input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout()
        self.register_buffer("total", torch.zeros(4))
        self.num_calls = 0
        self.last: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.num_calls += 1
        self.last.append(x)
        output = self.dropout(self.norm(self.linear(x)))
        self.total += output.detach().sum(0)
        return output * torch.rand(())


def test_the_run_leaves_the_model_as_it_was() -> None:
    model = Remembers()
    masks = random_masks(model)
    state = {name: each.clone() for name, each in model.state_dict().items()}
    x = torch.randn(3, 4)
    random_state = torch.get_rng_state()
    report = phew.to_sparse(model, masks, example_inputs=x)
    assert torch.get_rng_state().equal(random_state)
    assert report.layers[0].num_operations == 3 * int(masks["linear.weight"].sum())
    assert (model.num_calls, model.last, model.training) == (0, [], True)
    assert not model.linear._forward_hooks
    assert not model.linear._forward_pre_hooks
    assert model.total.equal(state["total"])
    assert model.norm.running_mean.equal(state["norm.running_mean"])
    phew.to_dense(model)
    assert not model.linear._forward_hooks


class Described(nn.Module):
    """Its configuration says what it accepts, as those of timm do."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.pretrained_cfg = {"input_size": (3, size, size)}
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_a_model_that_describes_its_input_is_run_on_that() -> None:
    model = Described(6)
    report = phew.to_sparse(model, random_masks(model))
    assert report.note is None
    assert report.total.num_dense_operations == 16 * 108 + 128


def test_a_model_that_does_not_run_on_what_it_describes_is_converted() -> None:
    model = Described(7)
    report = phew.to_sparse(model, random_masks(model))
    assert report.left_dense == {}
    assert report.total.num_operations is None
    told, _, error = " ".join(str(report).split()).partition("RuntimeError: ")
    assert told.endswith(" operations are not known: the model does not accept what it describes, ")
    assert error.endswith("mat1 and mat2 shapes cannot be multiplied (1x100 and 64x2)")
