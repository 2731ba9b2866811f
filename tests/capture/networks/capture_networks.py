"""Small networks that together hold every way of joining units that capture knows."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, no-any-return"
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phew.models import lenet5, resnet_cifar


class DenseBlock(nn.Module):
    """DenseNet's pre-activation layers, each fed by the concatenation of all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4 + 2 * i) for i in range(3))
        self.layers = nn.ModuleList(nn.Conv2d(4 + 2 * i, 2, 3, padding=1) for i in range(3))
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = torch.cat([x, layer(F.leaky_relu(norm(x)))], dim=1)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Bottlenecks(nn.Module):
    """A projection and an identity shortcut around 1x1, 3x3 and 1x1 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4))
        self.project = nn.Conv2d(4, 8, 1, stride=2)
        self.first = self._branch(4, 2)
        self.second = self._branch(8, 1)
        self.head = nn.Linear(8, 3)

    @staticmethod
    def _branch(channels: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, 2, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(2, 2, 3, padding=1, stride=stride),
            nn.BatchNorm2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(2, 8, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=1, padding=1)
        x = F.relu(self.first(x) + self.project(x))
        x = F.relu(self.second(x) + x)
        return self.head(x.mean((2, 3)))


class PaddedShortcut(nn.Module):
    """The parameter-free shortcut of CIFAR ResNets: strided, new channels padded with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 8, 3, padding=1, stride=2)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
        return self.head(F.leaky_relu(self.second(F.leaky_relu(self.first(x))) + shortcut))


class SqueezeAndExcitation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3)
        self.squeeze = nn.Conv2d(6, 2, 1)
        self.excite = nn.Conv2d(2, 6, 1)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.stem(x))
        gate = self.excite(F.leaky_relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return self.head((x * torch.sigmoid(gate)).mean((2, 3)))


class UNet(nn.Module):
    """Transposed convolution, resizing, and a skip by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.inner = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
        self.fuse = nn.Conv2d(8, 3, (1, 3), padding=(0, 1))
        self.out = nn.Conv2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        down = F.leaky_relu(self.down(x))
        up = F.leaky_relu(self.up(F.leaky_relu(self.inner(down))))
        fused = self.fuse(torch.cat([up, down], dim=1))
        return self.out(F.interpolate(fused, scale_factor=2))


class ShuffleNet(nn.Module):
    """Grouped and depthwise convolutions with channel shuffles and splits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.grouped = nn.Conv2d(8, 12, 3, groups=4)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.pointwise = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(F.leaky_relu(self.stem(x)))
        n, c, h, w = x.shape
        x = x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
        left, right = x.chunk(2, dim=1)
        right = self.pointwise(F.leaky_relu(self.depthwise(right)))
        left = F.avg_pool2d(left, 3, stride=1)
        return self.head(torch.cat([left, right], dim=1).mean((2, 3)))


class SubPixel(nn.Module):
    """Super-resolution: units move between channels and places."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.up = nn.PixelShuffle(2)
        self.second = nn.Conv2d(2, 3, 3, padding=1)
        self.down = nn.PixelUnshuffle(2)
        self.third = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.down(self.second(F.leaky_relu(self.up(self.first(x))))))


class Volumes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, 4, (1, 3, 3))
        self.second = nn.ConvTranspose3d(4, 2, 2)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(F.leaky_relu(self.first(x)), 2)
        return self.head(F.adaptive_avg_pool3d(self.second(x), 1).flatten(1))


class Signals(nn.Module):
    """Every normalisation in one dimension; places become units of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 6, 5, stride=2)
        self.group = nn.GroupNorm(2, 6)
        self.second = nn.Conv1d(6, 4, 3)
        self.instance = nn.InstanceNorm1d(4, affine=True)
        self.up = nn.ConvTranspose1d(4, 4, 2)
        self.linear = nn.Linear(4 * 7, 8)
        self.layer = nn.LayerNorm(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.instance(self.second(F.leaky_relu(self.group(self.first(x)))))
        return self.head(
            self.layer(
                F.leaky_relu(self.linear(self.up(F.dropout(x, training=self.training)).flatten(1)))
            )
        )


class InPlace(nn.Module):
    """Results written into parts of a tensor, and sums in place."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(5, 3)
        self.right = nn.Linear(5, 4)
        self.again = nn.Linear(7, 7)
        self.head = nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        whole = x.new_zeros(len(x), 7)
        whole[:, :3] = self.left(x)
        whole[:, 3:].add_(self.right(x))
        whole[:, 2:5].mul_(2)
        view = whole.view(-1)
        again = self.again(whole * 2)
        whole += again
        return self.head(view.view(len(x), 7))


class BranchesAndTies(nn.Module):
    """Two inputs, two outputs, a weight used twice, a weight used as a function's argument."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 6)
        self.two = nn.Linear(3, 6)
        self.shared = nn.Linear(6, 6)
        self.head = nn.Linear(12, 2)
        self.other = nn.Linear(6, 1)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        x, y = self.one(x), self.two(y)
        joined = x * y
        stacked = torch.stack([F.leaky_relu(joined), x], dim=1).flatten(1)
        return {"main": self.head(stacked), "other": self.other(joined.flip(1))}


class SpatialMixing(nn.Module):
    """ConvNeXt's block: depthwise convolution, norm and linear layers, scaled, and normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 2, stride=2)
        self.depthwise, self.norm = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.LayerNorm(4)
        self.wide, self.narrow = nn.Linear(4, 8), nn.Linear(8, 4)
        self.gain, self.shift = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(8))
        self.scale = nn.Parameter(torch.full((4,), 1e-6))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = F.gelu(self.wide(self.norm(self.depthwise(x).permute(0, 2, 3, 1))))
        # Global response normalisation.
        norms = torch.linalg.vector_norm(y, dim=(1, 2), keepdim=True)
        y = y + self.gain * y * (norms / (norms.mean(-1, keepdim=True) + 1e-6)) + self.shift
        x = x + (self.narrow(y) * self.scale).permute(0, 3, 1, 2)
        return self.head(x.mean((2, 3)))


class EfficientChannelAttention(nn.Module):
    """A convolution across the channels' means, whose single channel gates them all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.across = nn.Conv2d(3, 6, 3), nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self.stem(x))
        means = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(1, 2)
        gate = self.across(means).transpose(1, 2).unsqueeze(-1)
        return self.head(x * F.hardsigmoid(gate))


class SelectiveKernels(nn.Module):
    """Branches of several kernels, weighed against each other channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(4, 6, 3, padding=dilation, dilation=dilation, groups=2) for dilation in (1, 2)
        )
        self.squeeze, self.select = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 12, 1)
        self.stem, self.head = nn.Conv2d(3, 4, 1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.stack([branch(x) for branch in self.branches], dim=1)
        weights = self.select(F.relu(self.squeeze(x.sum(1).mean((2, 3), keepdim=True))))
        return self.head((x * weights.view(-1, 2, 6, 1, 1).softmax(1)).sum(1).mean((2, 3)))


class MultiScaleSplits(nn.Module):
    """Res2Net: each part of the channels adds the part before it, already convolved."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.parts = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(3))
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = F.silu(self.first(x)).split(2, dim=1)
        parts, part = [first], torch.zeros_like(first)
        for convolution, channels in zip(self.parts, rest, strict=True):
            part = F.silu(convolution(part + channels))
            parts.append(part)
        return self.last(torch.cat(parts, dim=1))


class Resolutions(nn.Module):
    """HRNet: two resolutions that are added to each other, up and down."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, 2, padding=1)
        self.up = nn.Conv2d(6, 4, 1)
        self.fine, self.coarse = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(10, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = F.relu(self.stem(x))
        coarse = F.relu(self.down(fine))
        size: dict[str, Any] = {"size": fine.shape[2:], "mode": "bilinear", "align_corners": False}
        fine = self.fine(fine + F.interpolate(self.up(coarse), **size))
        coarse = self.coarse(coarse + self.down(fine))
        return self.head(torch.cat([fine, F.interpolate(coarse, **size)], dim=1))


class SeparablePyramid(nn.Module):
    """Depthwise-separable convolutions, pooled at several sizes, reflected and blurred borders."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 6, 3, groups=3, padding=1, padding_mode="reflect")
        self.pointwise = nn.Conv2d(6, 4, 1, bias=False)
        self.norm, self.act = nn.BatchNorm2d(4), nn.PReLU(4)
        self.head = nn.Linear(4 + 4 * 4, 3)
        self.register_buffer("blur", torch.ones(4, 1, 2, 2) / 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.pointwise(self.depthwise(x))))
        x = F.conv2d(x, self.blur, stride=2, groups=4)
        pools = [F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 2)]
        return self.head(torch.cat([pool.flatten(1) for pool in pools], dim=1))


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 5), nn.Linear(5, 2)
    )


class RunningSums(nn.Module):
    """Sums from the first unit, and over steps the last of which are padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(self.second(self.first(x).cumsum(-1)), (0, 0, 0, 2))
        return self.head(padded.cumsum(1)[:, 1:4])


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "mlp": (_mlp, ((2, 3, 2, 2),)),
    "lenet5": (lenet5, ((1, 1, 28, 28),)),
    "resnet20": (lambda: resnet_cifar(20), ((1, 3, 32, 32),)),
    "bottlenecks": (Bottlenecks, ((1, 3, 8, 8),)),
    "dense block": (DenseBlock, ((2, 3, 8, 8),)),
    "padded shortcut": (PaddedShortcut, ((2, 3, 8, 8),)),
    "squeeze and excitation": (SqueezeAndExcitation, ((2, 3, 8, 8),)),
    "unet": (UNet, ((1, 1, 8, 8),)),
    "shufflenet": (ShuffleNet, ((1, 3, 9, 9),)),
    "sub-pixel": (SubPixel, ((1, 1, 4, 4),)),
    "volumes": (Volumes, ((1, 2, 4, 9, 9),)),
    "signals": (Signals, ((2, 1, 19),)),
    "in place": (InPlace, ((3, 5),)),
    "branches": (BranchesAndTies, ((2, 4), (2, 3))),
    "spatial mixing": (SpatialMixing, ((1, 3, 6, 6),)),
    "efficient channel attention": (EfficientChannelAttention, ((2, 3, 5, 5),)),
    "selective kernels": (SelectiveKernels, ((2, 3, 5, 5),)),
    "multi-scale splits": (MultiScaleSplits, ((1, 3, 4, 4),)),
    "resolutions": (Resolutions, ((1, 3, 8, 8),)),
    "running sums": (RunningSums, ((2, 3, 4),)),
    "separable pyramid": (SeparablePyramid, ((1, 3, 8, 8),)),
}
