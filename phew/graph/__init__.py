"""The walk graph, and what follows from its structure alone."""

from phew.graph.links import Link, Space, Units, WeightedLink, WiringLink
from phew.graph.notes import Approximation, CaptureNotes
from phew.graph.walk_graph import WalkGraph

__all__ = [
    "Approximation",
    "CaptureNotes",
    "Link",
    "Space",
    "Units",
    "WalkGraph",
    "WeightedLink",
    "WiringLink",
]
