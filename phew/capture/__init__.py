"""From a PyTorch model to a walk graph."""

from phew.capture.capture_model import capture

__all__ = ["capture"]
