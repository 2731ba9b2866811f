"""Real models: captured exactly, wired as autograd sees it, and pruned to what lies on paths."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from kept_paths import masked_gradients
from torch import nn
from wiring_oracle import assert_wired_like_autograd
from zoo.models import ZOO

import phew
from phew.graph.reach import unreached_weights

pytestmark = pytest.mark.filterwarnings("default")  # other libraries warn too

WIRED = (
    *("tv/efficientnet_b0", "tv/shufflenet_v2_x0_5", "tv/squeezenet1_0", "tv/swin_v2_t"),
    *("timm/densenet121", "timm/efficientvit_b0", "timm/ghostnet_050", "timm/lcnet_050"),
    *("timm/levit_128s", "timm/res2net50_14w_8s", "timm/shvit_s1", "timm/xcit_nano_12_p16_224"),
    *("hf/bert", "hf/clip", "hf/deberta_v2", "hf/gemma2", "hf/gpt2", "hf/llama", "hf/mamba"),
    *("hf/mamba2", "hf/phi", "hf/qwen3", "hf/segformer", "hf/t5", "hf/vit", "hf/wav2vec2"),
    *("misc/fno1d_complex", "misc/lstm", "misc/nn_transformer_encoder", "misc/weightnorm_tcn"),
)
PRUNED = (
    *("tv/shufflenet_v2_x0_5", "timm/ghostnet_050", "timm/levit_128s", "hf/bert", "hf/clip"),
    *("hf/deepseek_v3", "hf/gpt2", "hf/llama", "hf/mamba", "hf/qwen3_moe", "hf/t5", "misc/unet"),
)


QUICK = {"hf/llama", "misc/lstm", "misc/unet", "tv/squeezenet1_0"}


def marked_slow(names: tuple[str, ...]) -> list[Any]:
    """Return the names as parameters, of which only the quick ones are not slow."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def zoo_model(name: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    torch.manual_seed(0)
    model, inputs = ZOO[name].build().eval(), ZOO[name].inputs()
    return (model, (), inputs) if isinstance(inputs, dict) else (model, inputs, {})


@pytest.mark.parametrize("name", marked_slow(WIRED))
def test_wiring_is_where_autograd_sees_a_dependence(name: str) -> None:
    model, args, kwargs = zoo_model(name)
    graph = phew.capture(model, args or kwargs)
    assert graph.notes.approximations == ()
    assert_wired_like_autograd(graph, model, args, kwargs, max_units=2)


@pytest.mark.parametrize("name", marked_slow(PRUNED))
def test_every_weight_is_reached_and_every_kept_one_on_a_path(name: str) -> None:
    model, args, kwargs = zoo_model(name)
    graph = phew.capture(model, args or kwargs)
    assert graph.notes.approximations == ()
    assert unreached_weights(graph) == {}
    masks = phew.sample_masks(graph, density=0.1)
    gradients = masked_gradients(model, masks, args, kwargs)
    for parameter, mask in masks.items():
        assert (gradients[parameter][mask] != 0).all(), parameter
    masks.apply(model)
    model(*args, **kwargs)
