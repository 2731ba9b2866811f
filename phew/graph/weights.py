"""The weights of a walk graph, as walks follow them."""

from __future__ import annotations

import torch

from phew.distributed.sharding import whole
from phew.graph.links import WeightedLink
from phew.graph.walk_graph import WalkGraph

WEIGHT_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""Dtypes of magnitudes that walks follow."""

_CPU = torch.device("cpu")


def data_of(
    graph: WalkGraph,
    parameter: str,
    device: torch.device = _CPU,
    gathered: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a parameter's data, contiguous on a device and aligned as its type must be.

    Args:
        graph: The walk graph.
        parameter: The parameter's name.
        device: The device.
        gathered: The whole parameter if it is sharded and was gathered before; otherwise all ranks
            that hold a part gather it in this call.

    Returns:
        The data in its dtype, as float32 if that is not in `WEIGHT_DTYPES`; the magnitudes if the
        parameter is complex.

    Raises:
        ValueError: If the parameter's shape has changed since the graph was made, or its memory was
            freed.
    """
    if gathered is None:
        gathered = whole(graph.parameters[parameter].detach())
    _check_memory(parameter, gathered)
    data = aligned(gathered.to(device).contiguous())
    shape = graph.parameter_shapes[parameter]
    if data.shape != shape:
        raise ValueError(
            f"parameter {parameter!r} must be of the shape {tuple(shape)} that it was "
            f"captured with, got {tuple(data.shape)}. Capture the model again."
        )
    if data.is_complex():
        # torch's abs() of complex numbers rounds differently on different machines.
        data = _magnitudes(data.real.double(), data.imag.double()).to(data.real.dtype)
    return data if data.dtype in WEIGHT_DTYPES else data.float()


def weights_of(graph: WalkGraph, link: WeightedLink, device: torch.device = _CPU) -> torch.Tensor:
    """Return a link's weights on a device, shape `link.shape`; absent edges have the weight 0."""
    weights = link.view(data_of(graph, link.parameter, device))
    return weights if link.absent is None else weights.where(link.is_edge.to(device), 0)


def _magnitudes(real: torch.Tensor, imag: torch.Tensor) -> torch.Tensor:
    """Return sqrt(real^2 + imag^2), scaled by a power of two where squares would leave float64."""
    exponents = torch.frexp(torch.maximum(real.abs(), imag.abs())).exponent
    # 2^1074 is no float64, so the scale is the product of two numbers.
    first = exponents // 2
    scales = [_power_of_two(exponent) for exponent in (first, exponents - first)]
    real, imag = (part / scales[0] / scales[1] for part in (real, imag))
    return (real.square() + imag.square()).sqrt() * scales[0] * scales[1]


def _power_of_two(exponents: torch.Tensor) -> torch.Tensor:
    """Return 2^exponent as float64, exact on every device, for exponents in [-1022, 1023]."""
    return (exponents.long() + 1023 << 52).view(torch.float64)


def _check_memory(parameter: str, data: torch.Tensor) -> None:
    """Raise ValueError if a tensor's memory was freed or cut, as offloading does."""
    if data.numel() == 0 or data.is_meta or data.layout != torch.strided:
        return
    steps = zip(data.stride(), data.shape, strict=True)
    last = data.storage_offset() + sum(stride * (size - 1) for stride, size in steps)
    needed, held = (last + 1) * data.element_size(), data.untyped_storage().nbytes()
    if held < needed:
        raise ValueError(
            f"parameter {parameter!r} must hold its weights, got {held:,} of {needed:,} bytes: its "
            "memory was freed, as offloading does. Load the weights or move them back first."
        )


def aligned(data: torch.Tensor) -> torch.Tensor:
    """Return contiguous data at an address that is a multiple of its element's size.

    Only a tensor that is mapped from a file can be elsewhere, and is copied.
    """
    if data.data_ptr() % data.element_size() == 0:
        return data
    as_bytes = data.view(-1).view(torch.uint8)
    return as_bytes.clone().view(data.dtype).view(data.shape)
