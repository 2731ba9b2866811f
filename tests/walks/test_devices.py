"""Where walks run, and what the extension has of CUDA; a device is needed for neither."""

from __future__ import annotations

import ctypes
import ctypes.util
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import phew._core as _core
from phew.walks.devices import CPU, as_device, built_with_cuda

needs_build = pytest.mark.skipif(not built_with_cuda, reason="needs phew with CUDA")


@pytest.mark.parametrize("reason", ["", "the driver is too old"])
def test_walks_are_on_the_device_of_weights_where_phew_can_run(
    monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr("phew.walks.devices.built_with_cuda", True)
    monkeypatch.setattr("phew.walks.devices.obstacle", lambda device: reason)
    device = torch.device("cuda", 0)
    graph: Any = SimpleNamespace(
        prunable=("weight",), parameters={"weight": SimpleNamespace(device=device)}
    )
    assert as_device(None, graph) == (CPU if reason else device)


@needs_build
def test_no_other_runtime_of_cuda_can_be_mixed_with_that_of_the_extension() -> None:
    # torch makes the symbols of its own runtime, which may be another version, visible to all.
    # The extension would take those if its own were neither linked statically nor hidden.
    assert not hasattr(ctypes.CDLL(_core.__file__), "cudaLaunchKernel")


@needs_build
@pytest.mark.skipif(ctypes.util.find_library("cuda") is not None, reason="there is a driver")
def test_a_missing_driver_is_named() -> None:
    version = int(float(_core.cuda_version()))
    expected = f"phew needs a driver for CUDA {version} or newer, and there is none"
    assert _core.cuda_obstacle() == expected


@needs_build
def test_capabilities_are_versions_in_ascending_order() -> None:
    capabilities = [tuple(map(int, text.split("."))) for text in _core.cuda_capabilities()]
    assert capabilities == sorted(capabilities)
    assert all(major >= 5 and minor < 10 for major, minor in capabilities)
