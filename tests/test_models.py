from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from phew.models import NETWORKS, lenet5, resnet, resnet_cifar, vgg

# The ImageNet ResNets have the numbers of torchvision, without biases and normalisation.
NUM_WEIGHTS = {
    "lenet_300_100": 784 * 300 + 300 * 100 + 100 * 10,
    "lenet5": 61_470,
    "vgg11": 9_222_848,
    "vgg11_bn": 9_222_848,
    "vgg13": 9_407_168,
    "vgg13_bn": 9_407_168,
    "vgg16": 14_715_584,
    "vgg16_bn": 14_715_584,
    "vgg19": 20_024_000,
    "vgg19_bn": 20_024_000,
    "resnet20": 270_896,
    "resnet32": 464_432,
    "resnet56": 851_504,
    "resnet18": 11_678_912,
    "resnet34": 21_779_648,
    "resnet50": 25_502_912,
    "resnet101": 44_442_816,
    "resnet152": 60_040_384,
}


def num_weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.dim() > 1)


@pytest.mark.parametrize("name", NUM_WEIGHTS)
def test_network_has_the_known_number_of_prunable_weights(name: str) -> None:
    with torch.device("meta"):
        assert num_weights(NETWORKS[name].build()) == NUM_WEIGHTS[name]


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize(("size", "num_classes"), [(32, 10), (64, 200)])
def test_small_image_resnet_differs_from_the_large_in_stem_and_classifier_alone(
    depth: int, size: int, num_classes: int
) -> None:
    with torch.device("meta"):
        small = NETWORKS[f"resnet{depth}_{size}"].build()
    num_features = 512 if depth < 50 else 2048
    stem = 64 * 3 * (7 * 7 - 3 * 3)
    classifier = num_features * (1000 - num_classes)
    assert num_weights(small) == NUM_WEIGHTS[f"resnet{depth}"] - stem - classifier


@pytest.mark.parametrize("name", NETWORKS)
def test_network_takes_its_input_shape(name: str) -> None:
    num_classes = {28: 10, 32: 10, 64: 200, 224: 1000}
    network = NETWORKS[name]
    with torch.device("meta"):
        output = network.build()(torch.zeros(2, *network.input_shape))
    assert output.shape == (2, num_classes[network.input_shape[-1]])


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet5", "vgg11", "vgg11_bn", "resnet20"])
def test_network_keeps_the_scale_of_its_input(name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name].build()
    output = network(torch.randn(8, *NETWORKS[name].input_shape))
    assert 0.05 < output.std() < 20


@pytest.mark.parametrize(
    ("network", "size"),
    [(resnet(18, image_size=32), 32), (resnet(18, image_size=64), 64), (resnet(18), 56)],
)
def test_resnet_stem_strides_at_224_pixels_alone(network: nn.Module, size: int) -> None:
    stem = network.get_submodule("stem")
    image_size = 224 if size == 56 else size
    assert stem(torch.zeros(2, 3, image_size, image_size)).shape == (2, 64, size, size)


def test_cifar_resnet_projects_where_its_stages_meet() -> None:
    projections = [
        name
        for name, module in resnet_cifar(20).named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    ]
    assert projections == ["stages.1.0.shortcut.0", "stages.2.0.shortcut.0"]


def test_initialisation_is_kaiming_normal_with_zero_biases() -> None:
    torch.manual_seed(0)
    network = lenet5()
    weight = network.get_parameter("fc1.weight")
    assert weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    biases = [value for name, value in network.named_parameters() if name.endswith("bias")]
    assert len(biases) == 5
    assert not any(bias.any() for bias in biases)


def test_seed_of_torch_determines_the_weights() -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(lenet5().state_dict()["fc1.weight"])
    assert states[0].equal(states[1])
    assert not states[0].equal(states[2])


def test_number_of_classes_can_be_chosen() -> None:
    with torch.device("meta"):
        networks = [
            vgg(11, num_classes=7),
            resnet_cifar(20, num_classes=7),
            resnet(18, image_size=32, num_classes=7),
        ]
        shapes = [network(torch.zeros(2, 3, 32, 32)).shape for network in networks]
    assert shapes == [(2, 7)] * 3


def test_unknown_depth_or_size_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^depth must be one of 11, 13, 16, 19, got 12\.$"):
        vgg(12)
    with pytest.raises(ValueError, match=r"^depth must be 6n \+ 2 such as 20, 32 or 56, got 18\.$"):
        resnet_cifar(18)
    with pytest.raises(ValueError, match=r"^depth must be 6n \+ 2 .* got 2\.$"):
        resnet_cifar(2)
    with pytest.raises(ValueError, match=r"^depth must be one of 18, .*, 152, got 20\.$"):
        resnet(20)
    with pytest.raises(ValueError, match=r"^image_size must be one of 32, 64, 224, got 96\.$"):
        resnet(18, image_size=96)
