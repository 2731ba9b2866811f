"""Figures of masks, networks, comparisons and accuracies.

They need matplotlib: `pip install 'torch-phew[plot]'`. They are made without pyplot, so nothing
global changes and nothing needs to be closed. A notebook shows a figure that is a cell's last
value; `save` writes one as PNG, SVG or PDF. Functions that draw one panel take `ax=`, axes to draw
into, and those that draw several take `figure=`, a figure or subfigure to draw into.
"""

try:
    import matplotlib  # noqa: F401
except ImportError as error:
    raise ImportError("phew.plot needs matplotlib: pip install 'torch-phew[plot]'.") from error

from phew.plot.accuracies import accuracy
from phew.plot.comparisons import against_density, comparisons, layers
from phew.plot.figures import save, svg
from phew.plot.kept_layers import masks
from phew.plot.network_drawing import network

__all__ = [
    "accuracy",
    "against_density",
    "comparisons",
    "layers",
    "masks",
    "network",
    "save",
    "svg",
]
