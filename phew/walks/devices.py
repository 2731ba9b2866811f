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

    By default it is the CPU if phew cannot run on the device of the weights, because walks are the
    same there.

    Raises:
        ValueError: If it is neither the CPU nor a CUDA device that is there and that phew can run
            on, or phew was built without CUDA.
    """
    if device is None:
        # A graph without weights is refused later, by the sampler.
        device = next((graph.parameters[name].device for name in graph.prunable), CPU)
        runs = device.type == "cuda" and built_with_cuda and not obstacle(device)
        return device if runs else CPU
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
    device = torch.device(
        "cuda", torch.cuda.current_device() if device.index is None else device.index
    )
    if reason := obstacle(device):
        raise ValueError(
            f"device must be one that phew can run on, got {str(device)!r}: {reason}. Build phew "
            "for this device and driver, or walk on the CPU."
        )
    return device


def obstacle(device: torch.device | int) -> str:
    """Return why phew cannot run on a CUDA device, as where the driver is too old, or nothing.

    The runtime of CUDA in phew is not torch's, so either may run where the other does not.
    """
    with torch.cuda.device(device):
        return _core.cuda_obstacle()
