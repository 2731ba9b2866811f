"""Training of one network under masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

import phew
from science.data import DataSet


@dataclass(frozen=True)
class Protocol:
    """SGD with Nesterov momentum and a learning rate that falls to a tenth at two milestones.

    Attributes:
        optimizer: "SGD", or "AdamW", which has no use for the momentum.
        milestones: The shares of the epochs after which the learning rate falls.
    """

    num_epochs: int
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    optimizer: str = "SGD"
    milestones: tuple[float, float] = (0.5, 0.75)

    def optimizer_of(self, network: nn.Module) -> torch.optim.Optimizer:
        """Make the optimizer of a network."""
        parameters, rate, decay = network.parameters(), self.learning_rate, self.weight_decay
        if self.optimizer == "AdamW":
            return torch.optim.AdamW(parameters, rate, weight_decay=decay)
        return torch.optim.SGD(
            parameters, rate, momentum=self.momentum, weight_decay=decay, nesterov=True
        )


PAPER = Protocol(num_epochs=160)
"""The protocol of the PHEW paper: the rate falls after 80 and 120 of 160 epochs."""


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Attributes:
        accuracy: The accuracy on the test set after the last epoch.
        losses: The mean training loss of each epoch.
    """

    accuracy: float
    losses: list[float]


def train(
    network: nn.Module, masks: phew.Masks | None, data: DataSet, protocol: Protocol, seed: int
) -> Outcome:
    """Train a network under masks that are applied; check that pruned weights are zero at last."""
    losses = list(epochs(network, data, protocol, seed))
    for name, mask in (masks or {}).items():
        assert not network.get_parameter(name)[~mask].any(), f"{name} has pruned weights not zero"
    return Outcome(accuracy(network, data), losses)


def epochs(network: nn.Module, data: DataSet, protocol: Protocol, seed: int) -> Iterator[float]:
    """Train a network; yield the mean training loss after each epoch."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = protocol.optimizer_of(network)
    schedule = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [round(share * protocol.num_epochs) for share in protocol.milestones]
    )
    for _ in range(protocol.num_epochs):
        network.train()
        order = torch.randperm(len(data.train_labels), generator=generator)
        total = torch.zeros((), device=data.train_labels.device)
        for batch in order.split(protocol.batch_size):
            inputs, labels = data.training_batch(batch, generator)
            loss = nn.functional.cross_entropy(network(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        schedule.step()
        yield float(total) / len(order)


@torch.no_grad()
def accuracy(network: nn.Module, data: DataSet, *, batch_size: int = 1000) -> float:
    """Return the share of test examples that a network classifies rightly."""
    network.eval()
    num_right = 0
    for inputs, labels in zip(
        data.test_inputs.split(batch_size), data.test_labels.split(batch_size), strict=True
    ):
        predictions = network(data.normalised(inputs)).argmax(dim=1)
        num_right += int((predictions == labels).count_nonzero())
    return num_right / len(data.test_labels)
