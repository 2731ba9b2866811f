"""Sparse networks before training and without data, by PHEW (Paths with Higher-Edge Weights)."""

from phew import analysis, baselines
from phew._core import __version__
from phew.api import prune, sample_masks
from phew.capture import capture
from phew.engine import built_with_cuda
from phew.graph import WalkGraph
from phew.masks import Masks
from phew.streaming import prune_checkpoint

__all__ = [
    "Masks",
    "WalkGraph",
    "__version__",
    "analysis",
    "baselines",
    "built_with_cuda",
    "capture",
    "prune",
    "prune_checkpoint",
    "sample_masks",
]
