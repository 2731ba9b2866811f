"""Small networks that together hold the routes by which weights meet activations."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, no-any-return"
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Recurrent(nn.Module):
    """A recurrent cell in a loop, read at its last step.

    Args:
        cell: Module of PyTorch for one step.
    """

    def __init__(self, cell: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.cell = cell(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        state: Tensor | tuple[Tensor, Tensor] | None = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class RecurrentLayers(nn.Module):
    """PyTorch's recurrent layers, two deep and in both directions.

    Args:
        layers: Module of PyTorch for whole sequences.
    """

    def __init__(self, layers: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 4)
        self.layers = layers(4, 3, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x))[0].mean(1))


class WrittenGRU(nn.Module):
    """Gates written out, with packed weights that are used at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.states = nn.Linear(4, 9), nn.Parameter(torch.randn(9, 3) / 3)
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 3)
        for step in self.inputs(x).unbind(1):
            reset, update, new = step.chunk(3, dim=-1)
            past = F.linear(state, self.states).chunk(3, dim=-1)
            update = torch.sigmoid(update + past[1])
            new = torch.tanh(new + torch.sigmoid(reset + past[0]) * past[2])
            state = update * state + (1 - update) * new
        return self.head(state)


class WeightNorm(nn.Module):
    """Weights made of a direction and a magnitude, by both of PyTorch's ways."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 4, 3, padding=2))
        self.second = nn.utils.parametrizations.weight_norm(nn.Linear(4, 5), dim=None)
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x)[..., :-2])
        return self.head(F.relu(self.second(x.mean(-1))))


class StandardisedWeights(nn.Module):
    """Weights without their mean and variance, in elementary operations and as a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 6, 3, groups=2)
        self.gain = nn.Parameter(torch.ones(6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.first.weight
        centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = centred / (centred.std(dim=(1, 2, 3), keepdim=True) + 1e-5)
        x = F.silu(F.conv2d(x, weight, self.first.bias))
        flat = self.second.weight.reshape(1, 6, -1)
        weight = F.batch_norm(flat, None, None, weight=self.gain, training=True)
        weight = weight.reshape_as(self.second.weight)
        return self.head(F.conv2d(x, weight, self.second.bias, groups=2).mean((2, 3)))


class TiedWeights(nn.Module):
    """An autoencoder that decodes with its encoder's weights, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.second(F.relu(self.first(x))))
        return F.relu(x @ self.second.weight) @ self.first.weight


class WeightsOfHeads(nn.Module):
    """One matrix per head: in a product of batches, in an einsum, and packed in one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 6)
        self.first = nn.Parameter(torch.randn(2, 3, 4))
        self.second = nn.Parameter(torch.randn(2, 4, 3))
        self.packed = nn.Parameter(torch.randn(5, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).unflatten(-1, (2, 3))
        x = F.relu(torch.einsum("bthk,hkn->bthn", x, self.first)).flatten(0, 1)
        x = torch.bmm(x.transpose(0, 1), self.second).transpose(0, 1).flatten(1)
        upper, lower = self.packed.split([2, 3])
        return torch.cat([x @ upper.t(), F.linear(x, lower)], dim=-1)


class BroadcastProducts(nn.Module):
    """Weights on the left, vectors, and products that are broadcast over batches."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.randn(4, 3))
        self.right = nn.Parameter(torch.randn(5, 6))
        self.shared = nn.Parameter(torch.randn(1, 6, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(torch.matmul(self.left, x)) @ self.right
        return torch.addmm(x[0, :, :2], x[0], self.shared[0]) + torch.matmul(x, self.shared)


class Experts(nn.Module):
    """A dense mixture: the stacked weights of all experts, weighed by a router."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(5, 3)
        self.up = nn.ModuleList(nn.Linear(5, 4, bias=False) for _ in range(3))
        self.down = nn.Parameter(torch.randn(3, 4, 5))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.stack([F.gelu(layer(x)) for layer in self.up])
        outputs = torch.bmm(hidden, self.down)
        return (outputs * self.router(x).softmax(-1).t().unsqueeze(-1)).sum(0)


class StateSpace(nn.Module):
    """A block like Mamba's: depthwise convolution, a scan written as a loop, and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(3, 8)
        self.conv = nn.Conv1d(4, 4, 3, groups=4, padding=2)
        self.select, self.rate = nn.Linear(4, 5), nn.Linear(1, 4)
        self.decay, self.skip = nn.Parameter(torch.rand(4, 2)), nn.Parameter(torch.ones(4))
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.project(x).chunk(2, dim=-1)
        x = F.silu(self.conv(x.transpose(1, 2))[..., : x.shape[1]]).transpose(1, 2)
        rate, write, read = self.select(x).split([1, 2, 2], dim=-1)
        rate = F.softplus(self.rate(rate)).unsqueeze(-1)
        decay = torch.exp(-rate * self.decay)
        written = rate * write.unsqueeze(2) * x.unsqueeze(-1)
        state, steps = x.new_zeros(len(x), 4, 2), []
        for t in range(x.shape[1]):
            state = decay[:, t] * state + written[:, t]
            steps.append((state @ read[:, t].unsqueeze(-1)).squeeze(-1))
        return self.out((torch.stack(steps, dim=1) + x * self.skip) * F.silu(gate))


class Spectral(nn.Module):
    """A Fourier neural operator's layer, whose weights are real and imaginary parts."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(1, 4)
        self.modes = nn.Parameter(torch.randn(4, 4, 3, dtype=torch.cfloat))
        self.skip = nn.Conv1d(4, 4, 1)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x).transpose(1, 2)
        modes = torch.einsum("bix,iox->box", torch.fft.rfft(x)[..., :3], self.modes)
        x = F.gelu(torch.fft.irfft(modes, n=x.shape[-1]) + self.skip(x))
        return self.head(x.transpose(1, 2))


class GraphConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        x = F.relu(adjacency @ self.first(x))
        return adjacency @ self.second(x)


class WrittenNormalisations(nn.Module):
    """Layer norm, RMS norm, L2 norm and softmax in elementary operations."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(5))
        self.gain = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x)
        centred = x - x.mean(-1, keepdim=True)
        variance = (x - x.mean(-1, keepdim=True)).pow(2).mean(-1, keepdim=True)
        x = self.layers[1](centred / torch.sqrt(variance + 1e-6))
        x = self.layers[2](x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.gain)
        x = self.layers[3](x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6))
        powers = torch.exp(x - x.amax(-1, keepdim=True))
        return self.layers[4](powers / powers.sum(-1, keepdim=True))


class StochasticDepth(nn.Module):
    """A branch that training drops, and dropout of places and of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(0.5))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        kept = torch.ones(len(x), 1, 1, 1)
        if self.training:
            kept = kept.bernoulli_(0.5) / 0.5
        x = x + self.branch(self.drop(x)) * kept
        return self.head(x.mean((2, 3)))


class Hypernetwork(nn.Module):
    """A layer's weights that are another layer's outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.generate, self.head = nn.Linear(3, 4), nn.Linear(3, 24), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.generate(x).view(-1, 4, 6)
        return self.head(F.relu(torch.bmm(self.embed(x).unsqueeze(1), weights).squeeze(1)))


WEIGHT_NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "lstm cell": (lambda: Recurrent(nn.LSTMCell), ((2, 3, 4),)),
    "gru cell": (lambda: Recurrent(nn.GRUCell), ((2, 3, 4),)),
    "rnn cell": (lambda: Recurrent(nn.RNNCell), ((2, 3, 4),)),
    "lstm": (lambda: RecurrentLayers(nn.LSTM), ((2, 3, 5),)),
    "gru": (lambda: RecurrentLayers(nn.GRU), ((2, 3, 5),)),
    "rnn": (lambda: RecurrentLayers(nn.RNN), ((2, 3, 5),)),
    "written gru": (WrittenGRU, ((2, 3, 4),)),
    "weight norm": (WeightNorm, ((2, 2, 5),)),
    "standardised weights": (StandardisedWeights, ((1, 2, 6, 6),)),
    "tied weights": (TiedWeights, ((2, 6),)),
    "weights of heads": (WeightsOfHeads, ((2, 3, 5),)),
    "broadcast products": (BroadcastProducts, ((2, 3, 5),)),
    "experts": (Experts, ((2, 5),)),
    "state space": (StateSpace, ((2, 4, 3),)),
    "spectral": (Spectral, ((2, 8, 1),)),
    "graph convolution": (GraphConvolution, ((4, 3), (4, 4))),
    "written normalisations": (WrittenNormalisations, ((2, 5),)),
    "stochastic depth": (StochasticDepth, ((2, 2, 4, 4),)),
    "hypernetwork": (Hypernetwork, ((2, 3),)),
}
