"""Classification, segmentation, video, detection and optical flow models of torchvision."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchvision
from torch import nn

from zoo.entry import Entry, Inputs, image, normal, seeded

CLASSIFICATION = """
    alexnet convnext_small densenet161 densenet169 efficientnet_b0 efficientnet_b2 efficientnet_b3
    efficientnet_b4 efficientnet_b6 efficientnet_v2_l efficientnet_v2_m mnasnet0_5 mnasnet0_75
    mnasnet1_0 mnasnet1_3 mobilenet_v2 regnet_x_400mf regnet_x_8gf regnet_y_128gf regnet_y_1_6gf
    regnet_y_32gf resnet101 resnet18 resnet34 resnet50 resnext50_32x4d shufflenet_v2_x0_5
    shufflenet_v2_x1_0 shufflenet_v2_x2_0 squeezenet1_0 swin_t swin_v2_b swin_v2_s swin_v2_t vgg13
    vgg19_bn wide_resnet101_2
"""
SEGMENTATION = ("fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101")
VIDEO = {
    "mc3_18": (8, 64, 64),
    "r2plus1d_18": (8, 64, 64),
    "s3d": (14, 224, 224),
    "mvit_v1_b": (16, 224, 224),
}
DETECTION = ("maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn")


def build(name: str, **options: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision warns of initialisations that will change
        model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model


def _list_of_images(size: int) -> Callable[[], Inputs]:
    return lambda: ([torch.rand(3, size, size, generator=seeded())],)


ENTRIES = {f"tv/{name}": Entry(partial(build, name), image(64)) for name in CLASSIFICATION.split()}
ENTRIES["tv/inception_v3"] = Entry(
    partial(build, "inception_v3", aux_logits=False, init_weights=False), image(96)
)
for _name in ("vit_b_16", "vit_l_16", "vit_l_32"):
    ENTRIES[f"tv/{_name}"] = Entry(partial(build, _name, image_size=64), image(64))
for _name in SEGMENTATION:
    ENTRIES[f"tvseg/{_name}"] = Entry(partial(build, _name, weights_backbone=None), image(64))
for _name, _size in VIDEO.items():
    ENTRIES[f"tvvid/{_name}"] = Entry(partial(build, _name), normal((1, 3, *_size)))
for _name in DETECTION:
    _small = {"weights_backbone": None, "min_size": 64, "max_size": 64}
    ENTRIES[f"tvdet/{_name}"] = Entry(partial(build, _name, **_small), _list_of_images(64))
ENTRIES["tvdet/ssdlite320_mobilenet_v3_large"] = Entry(
    partial(build, "ssdlite320_mobilenet_v3_large", weights_backbone=None), _list_of_images(320)
)
ENTRIES["tvflow/raft_small"] = Entry(
    partial(build, "raft_small"), normal((1, 3, 128, 128), (1, 3, 128, 128))
)
