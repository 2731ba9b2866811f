"""Train a multilayer perceptron on scikit-learn's digits: dense, pruned by PHEW and at random.

The 1,797 images of 8x8 pixels come with scikit-learn. Needs: pip install scikit-learn
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from training import DataSet, compare, parse_tiny


def build_network() -> nn.Module:
    return nn.Sequential(
        nn.Linear(64, 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def load_data() -> DataSet:
    images, labels = load_digits(return_X_y=True)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images / 16, labels, test_size=0.2, random_state=0, stratify=labels
    )
    return DataSet(
        train_inputs=torch.from_numpy(train_images).float(),
        train_labels=torch.from_numpy(train_labels),
        test_inputs=torch.from_numpy(test_images).float(),
        test_labels=torch.from_numpy(test_labels),
    )


def main() -> None:
    tiny = parse_tiny(__doc__)
    compare(
        build_network,
        load_data(),
        densities=(0.05, 0.02),
        num_seeds=2 if tiny else 5,
        num_epochs=2 if tiny else 30,
    )


if __name__ == "__main__":
    main()
