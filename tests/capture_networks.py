"""Small networks that together hold every way of joining units that capture knows."""

from __future__ import annotations

from collections.abc import Callable

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


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 5), nn.Linear(5, 2)
    )


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
}
