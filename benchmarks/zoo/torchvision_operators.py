"""Operators without which torchvision cannot be imported. Import this before torchvision."""

from __future__ import annotations

import torch
from torch import Tensor, library


def _suppress(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: keep boxes that overlap no kept one of a higher score."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while order.numel():
        best, order = order[0], order[1:]
        kept.append(best)
        corners = torch.maximum(boxes[best, :2], boxes[order, :2])
        sides = (torch.minimum(boxes[best, 2:], boxes[order, 2:]) - corners).clamp(min=0)
        shared = sides.prod(dim=1)
        order = order[shared <= iou_threshold * (areas[best] + areas[order] - shared)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)


try:
    import torchvision
except RuntimeError:
    # A torchvision built for CUDA has no operators for a torch built without CUDA. Then it can only
    # be imported if these two are declared, and detection models call the first.
    _library = library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _library.impl("nms", _suppress, "CPU")
    import torchvision

    torchvision.extension._assert_has_ops = lambda: None
    torchvision.ops.boxes._assert_has_ops = lambda: None
