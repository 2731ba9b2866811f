"""Steps of training a network under masks: dense, held, sparse, and by other packages."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import phew
from rivals.sparse_inference import DENSE, PHEW, replace_linears, sparselab_layer
from rivals.sparse_networks import Masked

LEARNING_RATE = 1e-5
"""It is so small that weights and gradients keep their size, however long steps are timed."""

NUM_CLASSES = 10

OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": partial(torch.optim.SGD, lr=LEARNING_RATE, momentum=0.9),
    "AdamW": partial(torch.optim.AdamW, lr=LEARNING_RATE),
    "AdamW, fused": partial(torch.optim.AdamW, lr=LEARNING_RATE, fused=True),
}


class CsrPlaces(NamedTuple):
    """Where the values of torch's CSR are: 32-bit indices, the size, and the values' order."""

    rows: Tensor
    columns: Tensor
    shape: tuple[int, int]
    order: Tensor

    @classmethod
    def of(cls, mask: Tensor, places: Tensor) -> CsrPlaces:
        """Take a mask, and for each of its places the position in the vector of values."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CSR is said to be in beta state
            csr = mask.float().to_sparse_csr()
        rows, columns = csr.crow_indices().int(), csr.col_indices().int()
        return cls(rows, columns, (mask.shape[0], mask.shape[1]), places[mask])

    def weight(self, values: Tensor) -> Tensor:
        return torch.sparse_csr_tensor(self.rows, self.columns, values, self.shape)


class _CsrProduct(torch.autograd.Function):
    """The product of torch's CSR weight with a batch, and its derivatives, by sparse operations."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, values: Tensor, places: CsrPlaces, transposed: CsrPlaces
    ) -> Tensor:
        ctx.save_for_backward(input, values)
        ctx.places, ctx.transposed = places, transposed
        return (places.weight(values) @ input.t()).t()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        input, values = ctx.saved_tensors
        (grad,) = grads
        grad_input = None
        if ctx.needs_input_grad[0]:
            # torch's product with `weight.t()` takes fifty times as long as with a CSR of its own.
            transposed = ctx.transposed.weight(values[ctx.transposed.order])
            grad_input = (transposed @ grad.t()).t()
        zeros = ctx.places.weight(torch.zeros_like(values))
        return grad_input, torch.sparse.sampled_addmm(zeros, grad.t(), input).values(), None, None


class TrainedCsrLinear(nn.Module):
    """A linear layer whose parameter are the values of torch's CSR."""

    def __init__(self, layer: nn.Linear, mask: Tensor) -> None:
        super().__init__()
        positions = mask.flatten().cumsum(0).sub(1).view(mask.shape)
        self.places = CsrPlaces.of(mask, positions)
        self.transposed = CsrPlaces.of(mask.t().contiguous(), positions.t())
        self.values = nn.Parameter(layer.weight.detach()[mask])
        self.bias = layer.bias

    def forward(self, input: Tensor) -> Tensor:
        inputs = (input, self.values, self.places, self.transposed)
        product: Tensor = _CsrProduct.apply(*inputs)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias


def _held(masked: Masked) -> nn.Module:
    model = masked.copy()
    masked.masks.apply(model)
    return model


def _sparse(masked: Masked) -> nn.Module:
    model = masked.copy()
    phew.to_sparse(model, masked.masks, example_inputs=masked.example)
    return model


HELD = "held"
TRAINED: dict[str, tuple[str, Callable[[Masked], nn.Module]]] = {
    DENSE: ("", Masked.copy),
    HELD: ("", _held),
    PHEW: ("", _sparse),
    "torch CSR": ("", partial(replace_linears, make=TrainedCsrLinear)),
    "sparselab": ("sparselab", partial(replace_linears, make=sparselab_layer)),
}
"""The distribution of each way, and how it makes the network that is trained."""


def training_step(way: str, masked: Masked, optimizer: str) -> Callable[[], float]:
    """Make a step of training on one batch: gradients, loss and update, all included."""
    model = TRAINED[way][1](masked).train()
    update = OPTIMIZERS[optimizer](model.parameters())
    torch.manual_seed(2)
    labels = torch.randint(NUM_CLASSES, (len(masked.example),))

    def step() -> float:
        update.zero_grad()
        loss = F.cross_entropy(model(masked.example), labels)
        loss.backward()
        update.step()
        return loss.item()

    return step


def mlp(size: int, num_layers: int = 3) -> nn.Module:
    """Build a multilayer perceptron of square layers, and a head."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(num_layers):
        layers += [nn.Linear(size, size), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(size, NUM_CLASSES))
