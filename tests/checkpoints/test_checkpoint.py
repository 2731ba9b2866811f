"""Checkpoints that are pruned where they are on disk."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, no-any-return, union-attr"
import copy
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from saved_networks import SHARDS, save
from small_networks import COLOUR_IMAGE, IMAGE, Permuted, lenet5, resnet20
from torch import nn

import phew
from phew import Masks
from phew.checkpoints.run import MASKS
from phew.checkpoints.stored_tensors import Checkpoint


def on_meta(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).to("meta")


@pytest.mark.parametrize("num_shards", [1, SHARDS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"fork": "mass", "granularity": "kernel", "seed": 5}])
def test_masks_are_those_of_the_model(
    num_shards: int, dtype: torch.dtype, options: dict[str, Any], tmp_path: Path
) -> None:
    model, example = resnet20().to(dtype), COLOUR_IMAGE.to(dtype)
    folder = save(model, tmp_path / "model", num_shards=num_shards)
    expected = phew.sample_masks(model, example, density=0.1, **options)
    masks = phew.prune_checkpoint(
        on_meta(model), folder, example, density=0.1, out=tmp_path / "out", **options
    )
    loaded = Masks.load(tmp_path / "out" / MASKS)
    for found in (masks, loaded):
        assert found == expected
        assert found.num_walks == expected.num_walks
        assert found.active_units == expected.active_units
        assert found.num_kept == expected.num_kept
        assert found.digests == expected.digests
        assert {**found.info, **expected.info} == found.info
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MASKS]
    assert masks.info["num_passes"] == masks.info["expected_passes"] == 6


@pytest.mark.parametrize("density_of_fc1", [0.02, 0.5])
def test_layers_may_have_densities_of_their_own(
    density_of_fc1: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phew.walks.sampler.FEWEST_PER_BATCH", {"cpu": 500})
    monkeypatch.setattr("phew.walks.sampler.WEIGHTS_PER_WALK", 2**40)
    densities: dict[str, Any] = {"density": 0.1}
    densities["layer_densities"] = {"fc3": 1, "fc1": density_of_fc1}
    model = lenet5()
    folder, out = save(model, tmp_path / "model"), tmp_path / "out"
    masks = phew.prune_checkpoint(on_meta(model), folder, IMAGE, **densities, out=out)
    expected = phew.sample_masks(model, IMAGE, **densities)
    assert masks == Masks.load(out / MASKS) == expected
    assert masks.num_walks == expected.num_walks
    with pytest.raises(ValueError, match="a run of the same arguments left, got another's"):
        phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=out, resume=True)


def test_masks_of_a_language_model_are_those_of_the_model(tmp_path: Path) -> None:
    import zoo as zoo  # mends torchvision's operators
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=100,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "model", max_shard_size="100KB")
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    expected = phew.sample_masks(model, density=0.1)
    with torch.device("meta"):
        meta = LlamaForCausalLM(config)
    out = tmp_path / "out"
    assert phew.prune_checkpoint(
        meta, tmp_path / "model", density=0.1, out=out, write_weights=True
    ) == (expected)
    pruned = LlamaForCausalLM.from_pretrained(out, dtype=torch.bfloat16)
    loaded = LlamaForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    Masks.load(out / MASKS).apply(loaded)
    for (name, ours), theirs in zip(pruned.named_parameters(), loaded.parameters(), strict=True):
        assert ours.equal(theirs), name


@pytest.mark.parametrize("num_shards", [1, SHARDS])
def test_pruned_weights_are_zero_and_all_else_is_as_it_was(num_shards: int, tmp_path: Path) -> None:
    model = lenet5()
    folder = save(model, tmp_path / "model", num_shards=num_shards)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    out = tmp_path / "out"
    masks = phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=out, write_weights=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in out.iterdir()} == {*before, MASKS}
    for file in out.glob("model*.safetensors"):
        for name, tensor in safetensors.torch.load_file(file).items():
            expected = model.state_dict()[name]
            if name in masks:
                expected = expected.masked_fill(~masks[name], 0)
            assert tensor.equal(expected), name


def test_a_file_takes_one_descriptor(tmp_path: Path) -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(30)))
    checkpoint = Checkpoint(save(model, tmp_path / "model", num_shards=2))
    before = len([*Path("/dev/fd").iterdir()])
    tensors = [checkpoint.tensor(f"{layer}.weight", (4, 4)) for layer in range(30)]
    assert len([*Path("/dev/fd").iterdir()]) <= before + 2
    for tensor, layer in zip(tensors, model, strict=True):
        assert tensor.equal(layer.weight)


def test_a_tensor_is_in_the_file_that_the_index_says(tmp_path: Path) -> None:
    folder = save(lenet5(), tmp_path / "model", num_shards=2)
    expected = phew.sample_masks(lenet5(), IMAGE, density=0.1)
    weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    (name, file), *_ = weight_map.items()
    (other,) = {*weight_map.values()} - {file}
    tensors = safetensors.torch.load_file(folder / other)
    stale = torch.randn_like(lenet5().get_parameter(name).data)
    safetensors.torch.save_file(tensors | {name: stale}, folder / other)
    out = tmp_path / "out"
    assert phew.prune_checkpoint(lenet5(), folder, IMAGE, density=0.1, out=out) == expected


def test_buffers_on_the_meta_device_are_read_from_the_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, example = Permuted(), torch.zeros(1, 8)
    folder = save(model, tmp_path / "model")
    with torch.device("meta"):
        meta = Permuted()
    masks = phew.prune_checkpoint(meta, folder, example, density=0.3, out=tmp_path / "out")
    assert masks == phew.sample_masks(model, example, density=0.3)
    assert meta.order.is_meta
    folder = save(Permuted(persistent=False), tmp_path / "without")
    with torch.device("meta"):
        meta = Permuted(persistent=False)
    with pytest.raises(ValueError, match=r"must hold the values of buffer 'order', .* meta device"):
        phew.prune_checkpoint(meta, folder, example, density=0.3, out=tmp_path / "other")


class TiedAutoencoder(nn.Module):
    """A decoder that shares the weights of its encoder, transposed in use."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.hidden = nn.Linear(6, 8, bias=False), nn.Linear(8, 6)
        self.decode = nn.Linear(6, 8, bias=False)
        self.decode.weight = self.encode.weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.decode(self.hidden(self.encode(inputs)))


@pytest.mark.parametrize("stored", [("encode",), ("decode",), ("encode", "decode")])
def test_tied_weights_may_be_stored_under_any_of_their_names(
    stored: tuple[str, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, example = TiedAutoencoder(), torch.zeros(1, 6)
    tensors = {"hidden.weight": model.hidden.weight.data, "hidden.bias": model.hidden.bias.data}
    tensors |= {f"{name}.weight": model.encode.weight.data.clone() for name in stored}
    (tmp_path / "model").mkdir()
    safetensors.torch.save_file(tensors, tmp_path / "model" / "model.safetensors")
    out = tmp_path / "out"
    masks = phew.prune_checkpoint(
        model, tmp_path / "model", example, density=0.4, out=out, write_weights=True
    )
    assert masks == phew.sample_masks(model, example, density=0.4)
    pruned = safetensors.torch.load_file(out / "model.safetensors")
    assert pruned.keys() == tensors.keys()
    for name in stored:
        expected = model.encode.weight.masked_fill(~masks["encode.weight"], 0)
        assert pruned[f"{name}.weight"].equal(expected)


def test_the_default_device_does_not_matter(tmp_path: Path) -> None:
    folder = save(lenet5(), tmp_path / "model")
    model = lenet5()
    expected = phew.sample_masks(model, IMAGE, density=0.1)
    with torch.device("meta"):
        masks = phew.prune_checkpoint(model, folder, IMAGE, density=0.1, out=tmp_path / "out")
        analysis = phew.analysis.analyze(model, IMAGE, masks=expected)
    assert masks == expected
    assert analysis.total.effective_density == expected.density


def test_a_file_is_a_checkpoint_too(tmp_path: Path) -> None:
    safetensors.torch.save_file(lenet5().state_dict(), tmp_path / "weights.safetensors")
    checkpoint = Checkpoint(tmp_path / "weights.safetensors")
    weight = checkpoint.tensor("fc1.weight", (120, 400))
    assert weight.equal(lenet5().fc1.weight)


def test_no_checkpoint_is_an_error_that_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        phew.prune_checkpoint(
            lenet5(), tmp_path / "nothing", IMAGE, density=0.1, out=tmp_path / "out"
        )
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        phew.prune_checkpoint(lenet5(), tmp_path, IMAGE, density=0.1, out=tmp_path / "out")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")
def test_weights_are_not_copied(tmp_path: Path) -> None:
    file = save(lenet5(), tmp_path / "model") / "model.safetensors"
    tensor = Checkpoint(file).tensor("fc1.weight", (120, 400))
    mapped = [
        [int(address, 16) for address in line.split()[0].split("-")]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(file))
    ]
    assert any(first <= tensor.data_ptr() < last for first, last in mapped)
