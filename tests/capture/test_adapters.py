"""Adapters of PEFT are not pruned unless they are included, and masks hold below them."""

from __future__ import annotations

# mypy: disable-error-code="operator"
import importlib
from typing import Any

import pytest
import torch
from torch import nn
from zoo import torchvision_operators  # noqa: F401  PEFT imports torchvision

import phew

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ROW = torch.zeros(1, 16)
REASON = "adapter of PEFT (pruned where include names it)"


def base() -> nn.Sequential:
    torch.manual_seed(0)
    first, second = nn.Linear(16, 32), nn.Linear(32, 32)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(32, 8))


def adapted(model: nn.Module, kind: str = "LoraConfig", **options: Any) -> Any:
    peft: Any = importlib.import_module("peft")
    wrapped = peft.get_peft_model(
        model, getattr(peft, kind)(**{"target_modules": ["0"], **options})
    )
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:  # which is zero in the beginning
            nn.init.normal_(parameter, std=0.1)
    return wrapped


def train(model: nn.Module) -> None:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 16)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LoraConfig", {}),
        ("LoraConfig", {"use_dora": True}),
        ("LoHaConfig", {}),
        ("OFTConfig", {"oft_block_size": 4}),
        ("IA3Config", {"feedforward_modules": []}),
        ("VBLoRAConfig", {"num_vectors": 8, "vector_length": 16, "topk": 2}),
    ],
)
def test_masks_of_an_adapted_model_are_those_of_its_base(
    kind: str, options: dict[str, Any]
) -> None:
    model = adapted(base(), kind, **options)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    masks = phew.sample_masks(model, ROW, density=0.3)
    expected = phew.sample_masks(base(), ROW, density=0.3)
    assert [*masks] == [
        f"base_model.model.{name}" for name in ("0.base_layer.weight", "2.weight", "4.weight")
    ]
    assert all(
        mask.equal(other) for mask, other in zip(masks.values(), expected.values(), strict=True)
    )
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert not model.base_model.model[0].disable_adapters
    reasons = phew.capture(model, ROW).notes.not_prunable
    added = {name for name in flags if "base_layer" not in name and ".0." in name}
    assert added
    assert {reasons[name] for name in added} == {REASON}


def test_adapters_are_pruned_where_they_are_included() -> None:
    model = adapted(base(), r=4)
    name = "base_model.model.0.lora_{}.default.weight"
    masks = phew.sample_masks(model, ROW, density=0.5, include=["*lora_?", "*4.weight"])
    assert [*masks] == [name.format("A"), name.format("B"), "base_model.model.4.weight"]
    reasons = phew.capture(model, ROW, include="*lora_A").notes.not_prunable
    assert reasons[name.format("B")] == "not in include"


def test_merged_adapters_are_a_part_of_the_weight() -> None:
    model = adapted(base())
    model.merge_adapter()
    weight = model.base_model.model[0].base_layer.weight
    before = weight.detach().clone()
    plain = base()
    plain[0].weight.data.copy_(before)
    masks = phew.sample_masks(model, ROW, density=0.3)
    expected = phew.sample_masks(plain, ROW, density=0.3)
    assert masks["base_model.model.0.base_layer.weight"].equal(expected["0.weight"])
    assert weight.equal(before)
    assert model.base_model.model[0].merged


def test_masks_of_a_base_hold_below_adapters_until_these_are_merged() -> None:
    model = base()
    masks = phew.prune(model, ROW, density=0.3)
    wrapped = adapted(model, modules_to_save=["4"])
    before = wrapped.base_model.model[0].lora_A["default"].weight.detach().clone()
    train(wrapped)
    assert not wrapped.base_model.model[0].lora_A["default"].weight.equal(before)
    held = phew.Masks.of(wrapped)
    assert held["base_model.model.0.base_layer.weight"].equal(masks["0.weight"])
    # A copy of a module that is trained in its place is under the same mask.
    assert held["base_model.model.4.modules_to_save.default.weight"].equal(masks["4.weight"])
    assert held.check(wrapped) == {}

    merged = wrapped.merge_and_unload()
    assert masks.check(merged).keys() == {"0.weight"}
    assert phew.Masks.of(merged) == phew.Masks(masks)
    phew.Masks.of(merged).apply(merged)
    train(merged.requires_grad_())
    assert masks.check(merged) == {}


def test_an_adapted_model_of_transformers_needs_no_example() -> None:
    transformers: Any = importlib.import_module("transformers")
    config = transformers.BertConfig(
        vocab_size=9,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    model = transformers.BertForSequenceClassification(config)
    expected = phew.sample_masks(model, density=0.5)
    wrapped = adapted(model, target_modules=["query"], task_type="SEQ_CLS")
    assert phew.sample_masks(wrapped, density=0.5).num_weights == expected.num_weights
