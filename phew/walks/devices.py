"""Where walks run: the CPU or a CUDA device."""

from __future__ import annotations

import torch

import phew._core as _core
from phew.graph.walk_graph import WalkGraph

built_with_cuda = hasattr(_core, "CudaWalkEngine")
"""Whether walks can run on CUDA devices, where there are any."""

CPU = torch.device("cpu")


def as_device(device: torch.device | str | None, graph: WalkGraph) -> torch.device:
    """Return the device to walk on, by default that of the graph's weights.

    Raises:
        ValueError: If it is neither the CPU nor a CUDA device that is there, or phew was built
            without CUDA.
    """
    if device is None:
        # A graph without weights is refused later, by the sampler.
        device = next((graph.parameters[name].device for name in graph.prunable), CPU)
        return device if device.type == "cuda" and built_with_cuda else CPU
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise ValueError(f"device must be 'cpu' or a CUDA device, got {device!r}.") from None
    if device.type == "cpu":
        return CPU
    if device.type != "cuda":
        raise ValueError(f"device must be 'cpu' or a CUDA device, got {str(device)!r}.")
    if not built_with_cuda:
        raise ValueError(
            f"device {str(device)!r} needs phew with CUDA, and this is phew without. From a clone, "
            "build it with pip install . -C cmake.define.PHEW_CUDA=ON, or walk on the CPU."
        )
    num_devices = torch.cuda.device_count()
    if num_devices == 0:
        reason = "torch was built without CUDA" if torch.version.cuda is None else "torch sees none"
        raise ValueError(f"device must be one that is there, got {str(device)!r}: {reason}.")
    if device.index is not None and device.index >= num_devices:
        raise ValueError(f"device must be one of {num_devices} CUDA devices, got {str(device)!r}.")
    return torch.device(
        "cuda", torch.cuda.current_device() if device.index is None else device.index
    )
