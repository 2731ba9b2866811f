"""Counts of what masks leave of a network: weights, width, paths, path kernel, operations."""

from phew.analysis.comparison import Comparison, ComparisonRow, compare
from phew.analysis.connectivity import effective_masks
from phew.analysis.paths import num_paths, path_kernel_trace
from phew.analysis.summary import Analysis, LayerAnalysis, analyze

__all__ = [
    "Analysis",
    "Comparison",
    "ComparisonRow",
    "LayerAnalysis",
    "analyze",
    "compare",
    "effective_masks",
    "num_paths",
    "path_kernel_trace",
]
