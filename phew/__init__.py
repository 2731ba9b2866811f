"""Sparse networks before training and without data, by PHEW (Paths with Higher-Edge Weights)."""

import sys

if sys.platform == "win32":
    raise ImportError(
        "phew runs on Linux and macOS, got Windows. Install it in WSL 2, the Linux of Windows: "
        "https://learn.microsoft.com/windows/wsl/install"
    )

try:
    from phew._core import __version__
except ModuleNotFoundError as error:
    if error.name != "phew._core":
        raise
    raise ImportError(
        f"phew must be installed, got its sources in {__path__[0]!r} without the compiled engine, "
        "phew._core. Install it with `pip install .` in the clone, and run Python outside of the "
        "clone's root folder (`pytest` instead of `python -m pytest`)."
    ) from None

from phew import analysis, baselines, sparse
from phew.api import prune, sample_masks
from phew.capture import capture
from phew.capture.graph_of import inspect
from phew.checkpoints.run import prune_checkpoint
from phew.graph.notes import ApproximationWarning, LeftDenseWarning
from phew.graph.report import Report
from phew.graph.walk_graph import WalkGraph
from phew.masks.collapse import CollapseWarning
from phew.masks.held import is_pruned
from phew.masks.hold import release
from phew.masks.masks import Masks
from phew.masks.module_hold import NotHeldWarning
from phew.masks.other_weights import OtherWeightsWarning
from phew.masks.pruned_before import PrunedBeforeWarning
from phew.running.leftovers import NotRestoredWarning
from phew.sparse.convert import to_dense, to_sparse
from phew.sparse.sparse_file import load_sparse, save_sparse
from phew.walks.devices import built_with_cuda

__all__ = [
    "ApproximationWarning",
    "CollapseWarning",
    "LeftDenseWarning",
    "Masks",
    "NotHeldWarning",
    "NotRestoredWarning",
    "OtherWeightsWarning",
    "PrunedBeforeWarning",
    "Report",
    "WalkGraph",
    "__version__",
    "analysis",
    "baselines",
    "built_with_cuda",
    "capture",
    "inspect",
    "is_pruned",
    "load_sparse",
    "prune",
    "prune_checkpoint",
    "release",
    "sample_masks",
    "save_sparse",
    "sparse",
    "to_dense",
    "to_sparse",
]
