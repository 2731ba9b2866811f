"""Files of sparse networks take few bytes, and those that are wrong are refused by their path."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return, operator, union-attr"
import copy
import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from file_sizes import files_of_at_most
from masked_networks import random_masks, signal_network
from torch import Tensor, nn

import phew
from phew.support.safetensors import write_checked


class Attention(nn.Module):
    """Packed projections, which stay dense, and a convolution and linear layers, which do not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(3, 8, 3, padding=1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, signal: Tensor) -> Tensor:
        tokens = self.stem(signal).transpose(1, 2)
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0])


class Tied(nn.Module):
    """Two layers that share their weight, and one beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(6, 6) for _ in range(3))
        self.second.weight = self.first.weight

    def forward(self, inputs: Tensor) -> Tensor:
        return self.third(self.second(self.first(inputs)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (signal_network, (5, 2, 8)),
    "attention": (Attention, (5, 3, 7)),
    "tied": (Tied, (5, 6)),
    "a single layer": (lambda: nn.Linear(6, 4), (5, 6)),
}


def sparse_network(build: Callable[[], nn.Module] = signal_network) -> nn.Module:
    network = build()
    phew.to_sparse(network, random_masks(network))
    return network


def check_same(network: nn.Module, other: nn.Module, shape: tuple[int, ...]) -> None:
    torch.testing.assert_close(other.state_dict(), network.state_dict(), rtol=0, atol=0)
    inputs = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(inputs), network.eval()(inputs), rtol=0, atol=0)


def step(network: nn.Module, shape: tuple[int, ...]) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.randn(shape)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sparse_network_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    build, shape = NETWORKS[name]
    network = build()
    masks = random_masks(network)
    report = phew.to_sparse(network, masks)
    step(network, shape)
    phew.save_sparse(network, tmp_path / "net.safetensors")
    loaded = build()
    assert phew.load_sparse(loaded, tmp_path / "net.safetensors").left_dense == report.left_dense
    check_same(network, loaded, shape)
    step(loaded, shape)
    assert phew.to_dense(loaded) == masks  # what stayed dense is held


@pytest.mark.parametrize("name", NETWORKS)
def test_a_held_network_comes_back_sparse(name: str, tmp_path: Path) -> None:
    build, shape = NETWORKS[name]
    network = build()
    masks = random_masks(network)
    masks.apply(network)
    phew.save_sparse(network, str(tmp_path / "net.safetensors"))
    loaded = build()
    phew.load_sparse(loaded, str(tmp_path / "net.safetensors"))
    phew.to_sparse(network, masks)
    check_same(network, loaded, shape)


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_file_takes_a_bit_for_each_weight_and_the_kept_ones(
    is_sparse: bool, tmp_path: Path
) -> None:
    network = nn.Sequential(nn.Linear(1000, 1000, bias=False), nn.MultiheadAttention(500, 1))
    masks = random_masks(network, density=0.1)
    masks.apply(network)
    if is_sparse:
        phew.to_sparse(network, masks)
    path = tmp_path / "net.safetensors"
    phew.save_sparse(network, path)
    assert path.stat().st_size < 0.55 * sum(mask.numel() for mask in masks.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_networks_of_other_types_are_saved_as_they_are(dtype: torch.dtype, tmp_path: Path) -> None:
    network = sparse_network().to(dtype)
    phew.save_sparse(network, tmp_path / "net.safetensors")
    loaded = signal_network().to(dtype)
    phew.load_sparse(loaded, tmp_path / "net.safetensors")
    torch.testing.assert_close(loaded.state_dict(), network.state_dict(), rtol=0, atol=0)


def test_transposed_layers_come_back(tmp_path: Path) -> None:
    conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D

    def build() -> nn.Module:
        return nn.Sequential(conv1d(4, 6))

    network = sparse_network(build)
    phew.save_sparse(network, tmp_path / "net.safetensors")
    loaded = build()
    phew.load_sparse(loaded, tmp_path / "net.safetensors")
    check_same(network, loaded, (5, 6))


def test_states_that_others_saved_are_loaded(tmp_path: Path) -> None:
    network = sparse_network()
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    torch.save(network.state_dict(), tmp_path / "model.pt")
    for source in (tmp_path / "model.safetensors", torch.load(tmp_path / "model.pt")):
        loaded = signal_network()
        phew.load_sparse(loaded, source)
        check_same(network, loaded, (5, 2, 8))


def test_a_file_is_a_state_dict_for_others(tmp_path: Path) -> None:
    network = sparse_network()
    phew.save_sparse(network, tmp_path / "net.safetensors")
    state = safetensors.torch.load_file(tmp_path / "net.safetensors")
    torch.testing.assert_close(state, dict(network.state_dict()), rtol=0, atol=0)
    other = copy.deepcopy(network)
    step(other, (5, 2, 8))
    other.load_state_dict(state)
    check_same(network, other, (5, 2, 8))


def test_save_that_fails_leaves_the_old_file_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"before")
    message = re.escape(f"] File too large: '{path}'") + "$"
    with files_of_at_most(200), pytest.raises(OSError, match=message) as caught:
        phew.save_sparse(sparse_network(), path)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"before"


class WithObject(nn.Linear):
    def get_extra_state(self) -> Any:
        return {"calls": 3}


def test_states_of_more_than_tensors_are_refused(tmp_path: Path) -> None:
    message = r"model must have a state of tensors alone, got dict as '_extra_state'\. Save it with"
    with pytest.raises(TypeError, match=message):
        phew.save_sparse(WithObject(3, 2), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_types_that_no_file_holds_are_refused(tmp_path: Path) -> None:
    network = sparse_network()
    network.register_buffer("odd", torch.zeros(2, dtype=torch.complex128))
    message = r"'odd' must be of a type that safetensors files hold, got torch.complex128\. Convert"
    with pytest.raises(TypeError, match=message):
        phew.save_sparse(network, tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def check_refused(network: nn.Module, source: Any, message: str) -> None:
    """Check that a state is refused, and the network left as it was."""
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=message):
        phew.load_sparse(network, source)
    torch.testing.assert_close(network.state_dict(), before, rtol=0, atol=0)
    assert not any(isinstance(module, phew.sparse.Linear) for module in network.modules())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: nn.Sequential(*signal_network().children(), nn.Linear(4, 4)),
            r"it lacks '5\.weight', '5\.bias'\. Build the model as it was when",
        ),
        (
            lambda: signal_network()[:4],
            r"it has '4\.bias', '4\.weight'\. Build the model as it was when",
        ),
        (
            lambda: nn.Sequential(*list(signal_network().children())[:4], nn.Linear(48, 5)),
            r"'4\.bias' has the shape \(4,\) there, and \(5,\) in the model\. Build the model as",
        ),
        (
            lambda: nn.Sequential(
                nn.Conv1d(2, 6, 3), nn.BatchNorm1d(7), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
            ),
            r"'1\.bias' has the shape \(6,\) there, and \(7,\) in the model\. Build the model as",
        ),
    ],
)
def test_states_of_another_network_are_refused(
    build: Callable[[], nn.Module], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    phew.save_sparse(sparse_network(), path)
    check_refused(build(), path, rf"like this one, got '{re.escape(str(path))}': {message}")


def test_a_wrapper_makes_another_network(tmp_path: Path) -> None:
    phew.save_sparse(nn.Sequential(sparse_network()), tmp_path / "net.safetensors")
    message = (
        r"it has '0\.0\.bias', .* and 4 more and lacks '0\.weight', .* and 4 more\. Build the "
        r".* without the DistributedDataParallel or torch.compile around it\."
    )
    check_refused(signal_network(), tmp_path / "net.safetensors", message)


def test_a_transposed_network_is_another_one(tmp_path: Path) -> None:
    network = sparse_network(lambda: nn.Linear(6, 4, bias=False))
    phew.save_sparse(network, tmp_path / "net.safetensors")
    message = (
        r"'weight' has the shape \(4, 6\) there, and \(6, 4\) in the model\. Build the model as"
    )
    check_refused(nn.Linear(4, 6, bias=False), tmp_path / "net.safetensors", message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"4.mask": torch.zeros(24, dtype=torch.uint8)},
            r"'4\.weight' must be a sparse weight of",
        ),
        ({"4.mask": torch.zeros(23, dtype=torch.uint8)}, r"'4\.weight' must be a sparse weight of"),
        (
            {"4.weight": torch.zeros(4, 48)},
            r"'4\.weight' must be the kept weights of a mask, got the shape \(4, 48\)",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(changes: dict[str, Tensor], message: str) -> None:
    state = sparse_network().state_dict() | changes
    check_refused(signal_network(), state, rf"like this one, got a state: {message}")


def test_kept_weights_of_held_masks_are_counted() -> None:
    state = {"weight": torch.ones(3), "weight.mask": torch.tensor([3], dtype=torch.uint8)}
    message = r"'weight' must be the kept weights of a mask, got the shape \(3,\)\."
    check_refused(nn.Linear(2, 4, bias=False), state, message)


class Doubled(nn.Linear):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


def test_layers_that_cannot_be_sparse_are_named() -> None:
    state = sparse_network(lambda: nn.Sequential(nn.Linear(6, 6))).state_dict()
    message = (
        r"the layer of '0\.weight' cannot be sparse in the model: Doubled has a forward of its"
    )
    check_refused(nn.Sequential(Doubled(6, 6)), state, message)


def test_dense_states_are_refused(tmp_path: Path) -> None:
    message = r"got a state: it has no masks\. Use model\.load_state_dict\."
    check_refused(signal_network(), signal_network().state_dict(), message)
    phew.save_sparse(signal_network(), tmp_path / "net.safetensors")
    message = r"net\.safetensors': it has no masks\. Use model\.load_state"
    check_refused(signal_network(), tmp_path / "net.safetensors", message)


def test_files_of_masks_are_refused(tmp_path: Path) -> None:
    random_masks(signal_network()).save(tmp_path / "masks.safetensors")
    message = r"got '.*masks.safetensors', which is of masks\. Load it with phew\.Masks\.load\."
    check_refused(signal_network(), tmp_path / "masks.safetensors", message)


def test_a_network_that_is_sparse_is_no_place_for_a_state(tmp_path: Path) -> None:
    network = sparse_network()
    phew.save_sparse(network, tmp_path / "net.safetensors")
    message = r"model must be dense, got the sparse layer '0'\. Use model\.load_state_dict, or "
    with pytest.raises(ValueError, match=message):
        phew.load_sparse(network, tmp_path / "net.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_files_that_are_cut_off_are_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    phew.save_sparse(sparse_network(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    check_refused(signal_network(), path, rf"'{re.escape(str(path))}' must be a whole safetensors ")


def test_a_bit_that_flips_is_no_other_network(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    phew.save_sparse(sparse_network(), path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    for position in range(end, len(content), 31):
        changed = bytearray(content)
        changed[position] ^= 4
        path.write_bytes(changed)
        message = rf"'{re.escape(str(path))}', which cannot be read .* its bytes are not those that"
        check_refused(signal_network(), path, message)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"format"', "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError: 'format'"),
        ('{"format": 2}', "ValueError: format must be 1, got 2"),
        ('{"format": 1}', "KeyError: 'masks'"),
        ('{"format": 1, "masks": []}', "AttributeError"),
        ('{"format": 1, "masks": {"a": "b"}}', "TypeError"),
    ],
)
def test_headers_that_are_wrong_are_refused(header: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    state = sparse_network().state_dict()
    write_checked(path, state, {"phew_sparse": header}, "phew_sparse")
    message = rf"net\.safetensors', which cannot be read \({message}.*\)\. Copy or save the model"
    check_refused(signal_network(), path, message)


def test_a_file_that_lost_its_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    header = {"phew_sparse": '{"format": 1, "masks": {}}'}
    safetensors.torch.save_file(sparse_network().state_dict(), path, metadata=header)
    message = r"net\.safetensors', which cannot be read \(KeyError: 'phew_sha256'\)\. Copy or save"
    check_refused(signal_network(), path, message)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        phew.load_sparse(signal_network(), tmp_path / "missing.safetensors")
