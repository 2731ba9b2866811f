"""Operations on shapes alone are remembered, and make what they make when they run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._ops import OpOverload

from phew.capture.shapes import run_on_shapes

_aten = torch.ops.aten


def _meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def _facts(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


CALLS: dict[str, tuple[OpOverload, tuple[Any, ...]]] = {
    "matrix product": (_aten.addmm.default, (_meta(3), _meta(2, 4), _meta(3, 4).t())),
    "channels last": (
        _aten.convolution.default,
        (
            _meta(2, 3, 5, 5).to(memory_format=torch.channels_last),
            *(_meta(4, 3, 3, 3), None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
        ),
    ),
    "several results": (_aten.native_layer_norm.default, (_meta(2, 4), [4], None, None, 1e-5)),
    "broadcast": (_aten.add.Tensor, (_meta(2, 1), _meta(1, 3))),
    "integer": (_aten.mul.Tensor, (_meta(2, dtype=torch.int64), 2)),
    "number": (_aten.mul.Tensor, (_meta(2, dtype=torch.int64), 2.0)),
    "flag": (_aten.add.Tensor, (_meta(2, dtype=torch.bool), True)),
    "one": (_aten.add.Tensor, (_meta(2, dtype=torch.bool), 1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_remembered_result_equals_that_of_the_operation(name: str) -> None:
    func, args = CALLS[name]
    expected = func(*args)
    for _ in range(3):
        result = run_on_shapes(func, args, {})
        if isinstance(expected, tuple):
            assert [*map(_facts, result)] == [*map(_facts, expected)]
        else:
            assert _facts(result) == _facts(expected)


def test_a_remembered_result_is_a_tensor_of_its_own() -> None:
    args = (_meta(2, 3), _meta(2, 3))
    first, second = (run_on_shapes(_aten.add.Tensor, args, {}) for _ in range(2))
    assert first is not second
    assert first._base is None


def test_an_operation_in_place_returns_its_argument() -> None:
    for _ in range(2):
        tensor = _meta(2, 3)
        assert run_on_shapes(_aten.add_.Tensor, (tensor, _meta(3)), {}) is tensor


def test_views_share_memory_with_their_base() -> None:
    for _ in range(2):
        tensor = _meta(2, 3)
        assert run_on_shapes(_aten.t.default, (tensor,), {})._base is tensor


def test_a_change_of_shape_in_place_happens_each_time() -> None:
    for _ in range(2):
        tensor = _meta(2, 3)
        assert run_on_shapes(_aten.t_.default, (tensor,), {}).shape == (3, 2)
        assert tensor.shape == (3, 2)


def test_results_follow_the_default_dtype() -> None:
    args = (_meta(2, dtype=torch.int64), _meta(2, dtype=torch.int64))
    before = torch.get_default_dtype()
    try:
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            assert run_on_shapes(_aten.div.Tensor, args, {}).dtype == dtype
    finally:
        torch.set_default_dtype(before)


def test_shapes_that_an_operation_refuses_are_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError):
            run_on_shapes(_aten.mm.default, (_meta(2, 3), _meta(4, 5)), {})
