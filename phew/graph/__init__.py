"""The walk graph, and what follows from its structure alone."""

from phew.graph.links import Space, WeightedLink, WiringLink
from phew.graph.notes import Approximation, CaptureNotes
from phew.graph.walk_graph import WalkGraph

__all__ = ["Approximation", "CaptureNotes", "Space", "WalkGraph", "WeightedLink", "WiringLink"]
