"""Train a 1-d convolutional network on MNIST-1D: dense, pruned by PHEW and pruned at random.

MNIST-1D (Greydanus, Kobak, 2020, arXiv 2011.14439) generates its 5,000 signals of 40 samples
itself, so nothing is downloaded. Needs: pip install mnist1d
"""

from __future__ import annotations

import torch
from mnist1d.data import get_dataset_args, make_dataset
from torch import nn
from training import DataSet, compare, parse_tiny


def build_network() -> nn.Module:
    return nn.Sequential(
        *convolution(1, 64, kernel_size=5),
        *convolution(64, 64, kernel_size=3),
        *convolution(64, 64, kernel_size=3),
        nn.Flatten(),
        nn.Linear(64 * 5, 10),
    )


def convolution(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    return [
        nn.Conv1d(in_channels, out_channels, kernel_size, stride=2, padding=kernel_size // 2),
        nn.BatchNorm1d(out_channels),
        nn.ReLU(),
    ]


def load_data(num_samples: int) -> DataSet:
    arguments = get_dataset_args()
    arguments.num_samples = num_samples
    arrays = make_dataset(arguments)
    return DataSet(
        train_inputs=torch.from_numpy(arrays["x"]).float().unsqueeze(1),
        train_labels=torch.from_numpy(arrays["y"]),
        test_inputs=torch.from_numpy(arrays["x_test"]).float().unsqueeze(1),
        test_labels=torch.from_numpy(arrays["y_test"]),
    )


def main() -> None:
    tiny = parse_tiny(__doc__)
    compare(
        build_network,
        load_data(num_samples=500 if tiny else 5000),
        densities=(0.1, 0.05),
        num_seeds=2 if tiny else 3,
        num_epochs=2 if tiny else 30,
    )


if __name__ == "__main__":
    main()
