"""Scales, shifts and biases that a network computes lead on to what they are applied to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import phew

Apply = Callable[[Tensor, Tensor, Tensor], Tensor]

KERNEL = torch.linspace(0.5, 1.5, 16).view(4, 4, 1, 1)

APPLIED: dict[str, Apply] = {
    "batch norm": lambda x, scale, shift: F.batch_norm(
        x, torch.zeros(4), torch.ones(4), scale, shift
    ),
    "instance norm": lambda x, scale, shift: F.instance_norm(x, weight=scale, bias=shift),
    "group norm": lambda x, scale, shift: F.group_norm(x, 2, scale, shift),
    "layer norm": lambda x, scale, shift: F.layer_norm(x.mT, (4,), scale, shift).mT,
    "convolution": lambda x, scale, shift: F.conv1d(x, KERNEL[..., 0], scale * shift),
    "generated kernel": lambda x, scale, shift: F.conv1d(x, scale.view(4, 1, 1), shift, groups=4),
}


class Styled(nn.Module):
    """The features of one input scale and shift those of another."""

    def __init__(self, apply: Apply) -> None:
        super().__init__()
        self.content, self.style, self.head = (
            nn.Conv1d(2, 4, 1),
            nn.Linear(3, 8),
            nn.Conv1d(4, 2, 1),
        )
        self._apply_style = apply

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale, shift = self.style(style).chunk(2)
        features: Tensor = self.head(self._apply_style(self.content(x), scale, shift))
        return features


@pytest.mark.parametrize("name", APPLIED)
def test_computed_parameters_of_layers_are_on_paths_where_they_have_gradients(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = Styled(APPLIED[name]).eval(), (torch.randn(2, 2, 5), torch.randn(3))
    graph = phew.capture(model, inputs)
    assert graph.notes.approximations == ()
    assert graph.notes.left_dense == ()
    model(*inputs).square().sum().backward()
    kept = {key: torch.ones_like(graph.parameters[key], dtype=torch.bool) for key in graph.prunable}
    effective = phew.analysis.effective_masks(graph, masks=kept)
    for key, parameter in model.named_parameters():
        if parameter.dim() > 1:
            assert parameter.grad is not None
            assert torch.equal(effective[key], parameter.grad != 0), key
