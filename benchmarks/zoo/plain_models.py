"""Models of plain PyTorch with structures that libraries of image models do not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.entry import Entry, Inputs, normal, seeded, tokens


class LSTMClassifier(nn.Module):
    """Two LSTM layers in both directions over embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.layers = nn.LSTM(32, 48, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(96, 10)

    def forward(self, text: Tensor) -> Tensor:
        output: Tensor = self.head(self.layers(self.embed(text))[0][:, -1])
        return output


class LSTMCellLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(16, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        state = cells = x.new_zeros(len(x), 32)
        for step in x.unbind(1):
            state, cells = self.cell(step, (state, cells))
        output: Tensor = self.head(state)
        return output


class TransformerEncoder(nn.Module):
    """PyTorch's encoder with learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.positions = nn.Parameter(torch.zeros(1, 16, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(32, 10)

    def forward(self, text: Tensor) -> Tensor:
        output: Tensor = self.head(self.layers(self.embed(text) + self.positions).mean(1))
        return output


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = self._block(3, 16), self._block(16, 32)
        self.middle = self._block(32, 64)
        self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.fuse2, self.fuse1 = self._block(64, 32), self._block(32, 16)
        self.head = nn.Conv2d(16, 2, 1)

    @staticmethod
    def _block(num_inputs: int, num_outputs: int) -> nn.Module:
        sizes = (num_inputs, num_outputs), (num_outputs, num_outputs)
        layers = [(nn.Conv2d(*size, 3, padding=1), nn.BatchNorm2d(size[1])) for size in sizes]
        return nn.Sequential(*(part for layer in layers for part in (*layer, nn.ReLU())))

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down1(x)
        coarse = self.down2(F.max_pool2d(fine, 2))
        x = self.middle(F.max_pool2d(coarse, 2))
        x = self.fuse2(torch.cat([self.up2(x), coarse], dim=1))
        output: Tensor = self.head(self.fuse1(torch.cat([self.up1(x), fine], dim=1)))
        return output


class VAE(nn.Module):
    """A variational autoencoder, which draws random numbers between its halves."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(64, 32)
        self.mean, self.log_variance = nn.Linear(32, 8), nn.Linear(32, 8)
        self.decode = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.relu(self.encode(x))
        mean, log_variance = self.mean(x), self.log_variance(x)
        drawn = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.decode(drawn), mean, log_variance


class FourierOperator(nn.Module):
    """A Fourier neural operator of one dimension: complex weights for each mode."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.project, self.skip = (
            nn.Linear(1, 16),
            nn.Linear(16, 1),
            nn.Conv1d(16, 16, 1),
        )
        self.modes = nn.Parameter(torch.randn(16, 16, 9, dtype=torch.cfloat) / 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lift(x).transpose(1, 2)
        modes = torch.einsum("bix,iox->box", torch.fft.rfft(x)[..., :9], self.modes)
        x = F.gelu(torch.fft.irfft(modes, n=x.shape[-1]) + self.skip(x))
        output: Tensor = self.project(x.transpose(1, 2))
        return output


class GraphConvolutions(nn.Module):
    """Two graph convolutions with a dense adjacency matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        output: Tensor = self.second(adjacency @ F.relu(self.first(adjacency @ x)))
        return output


class TemporalConvolutions(nn.Module):
    """Causal, dilated convolutions under weight norm."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.first = norm(nn.Conv1d(8, 32, 3, padding=2))
        self.second = norm(nn.Conv1d(32, 32, 3, padding=4, dilation=2))
        self.project, self.head = nn.Conv1d(8, 32, 1), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.second(F.relu(self.first(x)[..., :-2]))[..., :-4])
        output: Tensor = self.head((inner + self.project(x)).mean(-1))
        return output


class RawParameters(nn.Module):
    """Two layers whose weights are bare parameters, multiplied by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(16, 32))
        self.second = nn.Parameter(torch.randn(32, 10))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x @ self.first) @ self.second


class DynamicWeights(nn.Module):
    """A layer whose weights are the outputs of another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.generate, self.head = nn.Linear(8, 8 * 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.generate(x).view(-1, 8, 16)
        output: Tensor = self.head(F.relu(torch.bmm(x.unsqueeze(1), weights).squeeze(1)))
        return output


def _mlp() -> nn.Module:
    hidden = nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()
    return nn.Sequential(*hidden, nn.Linear(64, 10))


def _graph() -> Inputs:
    return torch.randn(6, 8, generator=seeded()), torch.eye(6)


ENTRIES = {
    "misc/mlp": Entry(_mlp, normal((2, 20))),
    "misc/lstm": Entry(LSTMClassifier, lambda: (tokens(2, 12, below=50),)),
    "misc/lstmcell_loop": Entry(LSTMCellLoop, normal((2, 5, 16))),
    "misc/nn_transformer_encoder": Entry(TransformerEncoder, lambda: (tokens(2, 16, below=50),)),
    "misc/unet": Entry(UNet, normal((1, 3, 32, 32))),
    "misc/vae": Entry(VAE, normal((2, 64))),
    "misc/fno1d_complex": Entry(FourierOperator, normal((2, 32, 1))),
    "misc/dense_gcn": Entry(GraphConvolutions, _graph),
    "misc/weightnorm_tcn": Entry(TemporalConvolutions, normal((2, 8, 20))),
    "misc/raw_parameters": Entry(RawParameters, normal((2, 16))),
    "misc/hypernet_dynamic_weight": Entry(DynamicWeights, normal((2, 8))),
}
