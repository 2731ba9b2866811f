"""Small networks that together hold the forms that attention and gated blocks come in."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return, operator"
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WrittenAttention(nn.Module):
    """Attention in elementary operations, with a causal mask, between two residual sums."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.out = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).view(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(c // 2)
        scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c)
        return self.head(x + self.out(mixed))


class EinsumAttention(nn.Module):
    """Attention by einsum, with weights that have an axis of heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.query, self.key, self.value = (
            nn.Parameter(torch.randn(8, 2, 3) / 3) for _ in range(3)
        )
        self.out = nn.Parameter(torch.randn(2, 3, 8) / 3)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = (torch.einsum("btc,chd->bthd", x, w) for w in (self.query, self.key, self.value))
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k).softmax(-1)
        mixed = torch.einsum("bhqk,bkhd->bqhd", weights, v)
        return self.head(torch.einsum("bqhd,hdc->bqc", mixed, self.out))


class SelfAttention(nn.Module):
    """PyTorch's module with its packed projection."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        return self.head(x + self.attention(x, x, x, need_weights=False)[0])


class CrossAttention(nn.Module):
    """PyTorch's module with memory of other widths, time first, whose weights are returned too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.keys = nn.Linear(4, 6)
        self.values = nn.Linear(4, 10)
        self.attention = nn.MultiheadAttention(8, 4, kdim=6, vdim=10, bias=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        mixed, weights = self.attention(
            self.embed(x), self.keys(memory), F.gelu(self.values(memory))
        )
        return self.head(mixed), weights


class GroupedQueries(nn.Module):
    """Four heads of queries on two of keys and values, with a fused product."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.query = nn.Linear(8, 12)
        self.key, self.value = nn.Linear(8, 6), nn.Linear(8, 6)
        self.out = nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        q, k, v = (
            part.unflatten(-1, (-1, 3)).transpose(1, 2)
            for part in (self.query(x), self.key(x), self.value(x))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(mixed.transpose(1, 2).flatten(2))


class MultiQuery(nn.Module):
    """Keys and values of one head, expanded to all."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 6)
        self.qkv = nn.Linear(6, 6 + 2 + 2)
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.qkv(self.embed(x)).split([6, 2, 2], dim=-1)
        q = q.view(n, t, 3, 2).transpose(1, 2)
        k, v = (part.unsqueeze(1).expand(n, 3, t, 2) for part in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(n, t, 6))


class ShiftedWindows(nn.Module):
    """Attention inside windows of a rolled image, with relative positions, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 2, stride=2)
        self.norm = nn.LayerNorm(6)
        self.qkv = nn.Linear(6, 18)
        self.positions = nn.Parameter(torch.randn(9, 3))
        self.out = nn.Linear(6, 6)
        self.merge = nn.Linear(24, 8)
        places = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(2), indexing="ij"))
        steps = places.flatten(1)[:, :, None] - places.flatten(1)[:, None] + 1
        self.register_buffer("index", steps[0] * 3 + steps[1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.patches(x).permute(0, 2, 3, 1))
        n, h, w, c = x.shape
        windows = torch.roll(x, (-1, -1), dims=(1, 2)).view(n, h // 2, 2, w // 2, 2, c)
        windows = windows.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, c)
        q, k, v = self.qkv(windows).reshape(-1, 4, 3, 3, c // 3).permute(2, 0, 3, 1, 4)
        bias = self.positions[self.index.flatten()].view(4, 4, 3).permute(2, 0, 1)
        mixed = ((q * 0.5) @ k.transpose(-2, -1) + bias).softmax(-1) @ v
        mixed = self.out(mixed.transpose(1, 2).reshape(-1, 4, c))
        mixed = mixed.view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5)
        x = x + torch.roll(mixed.reshape(n, h, w, c), (1, 1), dims=(1, 2))
        corners = [x[:, i::2, j::2] for i in range(2) for j in range(2)]
        return self.merge(torch.cat(corners, dim=-1))


class CosineAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(5, 6)
        self.scale = nn.Parameter(torch.ones(2, 1, 1))
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (2, 3)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        cosines = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        mixed = (cosines * self.scale.clamp(max=4).exp()).softmax(-1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))


class ChannelAttention(nn.Module):
    """Attention between the channels of a head, as in XCiT."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 6)
        self.qkv = nn.Linear(6, 18)
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        qkv = self.qkv(self.embed(x)).view(n, t, 3, 2, 3).permute(2, 0, 3, 4, 1)
        q, k, v = qkv.unbind(0)
        weights = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return self.out((weights.softmax(-1) @ v).permute(0, 3, 1, 2).reshape(n, t, 6))


class LinearAttention(nn.Module):
    """Keys and values are summed first, and the result divided by the sum of the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(5, 6)
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (2, 3)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        q, k = F.elu(q) + 1, F.elu(k) + 1
        total = q @ k.sum(dim=2).unsqueeze(-1)
        return self.out((q @ (k.transpose(-2, -1) @ v) / total).transpose(1, 2).flatten(2))


class TalkingHeads(nn.Module):
    """Linear layers across heads, before and after the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(5, 18)
        self.before, self.after = nn.Linear(3, 3), nn.Linear(3, 3)
        self.out = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, 3, 2).permute(2, 0, 3, 1, 4)
        weights = self.before((q @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).softmax(2)
        weights = self.after(weights).permute(0, 3, 1, 2)
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, 6))


class ClassToken(nn.Module):
    """A vision transformer, read at a token of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 5, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.positions
        return self.head(self.layer(x)[:, 0])


class LearnedQueries(nn.Module):
    """A decoder whose queries are a parameter, as in DETR."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 8)
        self.queries = nn.Embedding(3, 8)
        self.layer = nn.TransformerDecoderLayer(8, 2, 12, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries.weight.unsqueeze(0).expand(len(x), -1, -1)
        return self.head(self.layer(queries, self.embed(x)))


class RotaryAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(5, 8)
        self.out = nn.Linear(8, 4)

    @staticmethod
    def _rotate(x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[2])[:, None] / 10.0 ** torch.arange(2)
        angles = torch.cat([angles, angles], dim=-1)
        left, right = x.chunk(2, dim=-1)
        return x * angles.cos() + torch.cat([-right, left], dim=-1) * angles.sin()

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (2, 4)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(self._rotate(q), self._rotate(k), v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class GatedLayers(nn.Module):
    """SwiGLU with two projections, GEGLU with a packed one, and GLU."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(5, 7), nn.Linear(5, 7), nn.Linear(7, 6)
        self.packed, self.second = nn.Linear(6, 8), nn.Linear(4, 6)
        self.glu, self.head = nn.Linear(6, 10), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(F.silu(self.gate(x)) * self.up(x))
        values, gates = self.packed(x).chunk(2, dim=-1)
        x = x + self.second(values * F.gelu(gates))
        return self.head(F.glu(self.glu(x)))


class Mixer(nn.Module):
    """Linear layers across tokens and across channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 2, stride=2)
        self.tokens = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 4))
        self.channels = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6))
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2)
        x = (x + self.tokens(x)).transpose(1, 2)
        return self.head((x + self.channels(x)).mean(1))


class SpatialGating(nn.Module):
    """gMLP: half of the channels gate the others after a convolution across tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8)
        self.norm = nn.LayerNorm(4)
        self.tokens = nn.Conv1d(3, 3, 1)
        self.second = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        values, gates = F.gelu(self.first(x)).chunk(2, dim=-1)
        return x + self.second(values * self.tokens(self.norm(gates)))


class AttentionUNet(nn.Module):
    """An image's places as tokens, between convolutions and their skip."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.qkv, self.project = nn.Conv1d(4, 12, 1), nn.Conv1d(4, 4, 1)
        self.up = nn.Conv2d(4, 4, 3, padding=1)
        self.out = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        down = F.silu(self.down(x))
        q, k, v = self.qkv(self.norm(down).flatten(2)).chunk(3, dim=1)
        mixed = v @ (q.transpose(1, 2) @ k * 0.5).softmax(-1).transpose(1, 2)
        down = down + self.project(mixed).view_as(down)
        up = self.up(F.interpolate(down, scale_factor=2, mode="nearest"))
        return self.out(torch.cat([up, x], dim=1))


ATTENTION_NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "written attention": (WrittenAttention, ((2, 3, 5),)),
    "einsum attention": (EinsumAttention, ((2, 3, 5),)),
    "self-attention": (SelfAttention, ((2, 3, 5),)),
    "cross-attention": (CrossAttention, ((3, 2, 5), (4, 2, 4))),
    "grouped queries": (GroupedQueries, ((2, 3, 5),)),
    "multi-query": (MultiQuery, ((2, 3, 5),)),
    "shifted windows": (ShiftedWindows, ((1, 3, 8, 8),)),
    "cosine attention": (CosineAttention, ((2, 3, 5),)),
    "channel attention": (ChannelAttention, ((2, 4, 5),)),
    "linear attention": (LinearAttention, ((2, 3, 5),)),
    "talking heads": (TalkingHeads, ((2, 4, 5),)),
    "class token": (ClassToken, ((2, 3, 8, 8),)),
    "learned queries": (LearnedQueries, ((2, 4, 5),)),
    "rotary": (RotaryAttention, ((2, 3, 5),)),
    "gated layers": (GatedLayers, ((2, 5),)),
    "mixer": (Mixer, ((2, 3, 4, 4),)),
    "spatial gating": (SpatialGating, ((2, 3, 5),)),
    "attention unet": (AttentionUNet, ((1, 2, 6, 6),)),
}
