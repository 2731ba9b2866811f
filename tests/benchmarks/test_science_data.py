"""The data sets of the benchmark of the paper's claims, and their augmentation."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from science.data import flipped, load, shifted
from support.suite import UnavailableError
from torch import nn


def test_images_are_shifted() -> None:
    images = torch.arange(1.0, 1 + 64 * 36).view(64, 1, 6, 6)
    moved = shifted(images, 1, torch.Generator().manual_seed(0))
    windows = nn.functional.pad(images, [1] * 4).unfold(2, 6, 1).unfold(3, 6, 1)
    places = [
        (choices.reshape(9, 6, 6) == image).all(dim=(1, 2)).nonzero().item()
        for image, choices in zip(moved, windows, strict=True)
    ]
    assert set(places) == set(range(9))


def test_half_of_the_images_are_flipped() -> None:
    images = torch.arange(1.0, 1 + 64 * 36).view(64, 1, 6, 6)
    moved = flipped(images, torch.Generator().manual_seed(0))
    is_flipped = (moved == images.flip(3)).flatten(1).all(dim=1)
    is_same = (moved == images).flatten(1).all(dim=1)
    assert (is_flipped ^ is_same).all()
    assert 20 < is_flipped.sum() < 44


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_examples", "num_classes"),
    [
        ("digits_32", (1437, 360), 10),
        ("mnist_5000", (4000, 1000), 10),
        ("fractals", (5000, 1000), 20),
    ],
)
def test_images_that_need_no_download(
    name: str, num_examples: tuple[int, int], num_classes: int
) -> None:
    data = load(name, Path())
    assert (len(data.train_labels), len(data.test_labels)) == num_examples
    assert data.train_inputs.shape[1:] == (3, 32, 32)
    assert data.train_inputs.dtype == torch.uint8
    for labels in (data.train_labels, data.test_labels):
        counts = labels.bincount()
        assert len(counts) == num_classes
        assert counts.max() <= 1.3 * counts.min()
    # No image is both trained on and tested.
    trained = {image.numpy().tobytes() for image in data.train_inputs}
    assert trained.isdisjoint(image.numpy().tobytes() for image in data.test_inputs)
    assert data.normalised(data.train_inputs).std() == pytest.approx(1, abs=0.1)


def write_mnist(folder: Path) -> None:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, number in (("train", 6), ("t10k", 4)):
        images = np.arange(number * 784).reshape(number, 28, 28) % 256
        header = struct.pack(">iiii", 2051, number, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.astype(np.uint8).tobytes())
        labels = np.arange(number, dtype=np.uint8) % 2
        header = struct.pack(">ii", 2049, number)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def write_cifar10(folder: Path) -> None:
    root = folder / "cifar-10-batches-py"
    root.mkdir(parents=True)
    rows = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (root / name).write_bytes(pickle.dumps({"data": rows, "labels": [0, 9]}))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))


def write_cifar100(folder: Path) -> None:
    root = folder / "cifar-100-python"
    root.mkdir(parents=True)
    rows = np.arange(5 * 3072).reshape(5, 3072).astype(np.uint8)
    for name in ("train", "test"):
        (root / name).write_bytes(pickle.dumps({"data": rows, "fine_labels": [0, 9, 99, 3, 4]}))
    (root / "meta").write_bytes(pickle.dumps({"fine_label_names": [""] * 100}))


def write_tiny_imagenet(folder: Path) -> None:
    root = folder / "tiny-imagenet-200"
    image = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    grey = image.convert("L")  # the data set has some
    for name in ("n01", "n02"):
        (root / "train" / name / "images").mkdir(parents=True)
        image.save(root / "train" / name / "images" / f"{name}_0.JPEG")
        grey.save(root / "train" / name / "images" / f"{name}_1.JPEG")
    (root / "val" / "images").mkdir(parents=True)
    image.save(root / "val" / "images" / "val_0.JPEG")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t62\t62\n")
    (root / "wnids.txt").write_text("n01\nn02\n")


@pytest.mark.parametrize(
    ("name", "write", "shape", "labels"),
    [
        ("mnist", write_mnist, (6, 1, 28, 28), [0, 1, 0, 1]),
        ("cifar10", write_cifar10, (10, 3, 32, 32), [0, 9]),
        ("cifar100", write_cifar100, (5, 3, 32, 32), [0, 9, 99, 3, 4]),
        ("tiny_imagenet", write_tiny_imagenet, (4, 3, 64, 64), [1]),
    ],
)
def test_data_sets_are_read_from_disk(
    name: str,
    write: Any,
    shape: tuple[int, ...],
    labels: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import zoo as zoo  # mends torchvision's operators
    from torchvision.datasets import cifar

    # The files are made up: their checksums are not those of the data set.
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    write(tmp_path)
    data = load(name, tmp_path)
    assert data.train_inputs.shape == shape
    assert data.test_labels.tolist() == labels
    assert data.is_flipped == (name != "mnist")
    inputs, _ = data.training_batch(torch.arange(2), torch.Generator().manual_seed(0))
    assert inputs.shape == (2, *shape[1:])
    everything = data.normalised(data.train_inputs).transpose(0, 1).flatten(1).double()
    assert everything.mean(dim=1).abs().max() < 1e-5
    assert (everything.std(dim=1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "tiny_imagenet"])
def test_data_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"{name} is not in '{tmp_path}'"):
        load(name, tmp_path)
