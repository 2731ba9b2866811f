"""Which tensors are views of parameters or copies of them, and which are computed from some."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True)
class ParameterView:
    """A tensor that is a view of a parameter, or a copy of one.

    The transposed weight of `Linear(3, 2)` has the index of size (3, 2) and strides (1, 3): its
    element (2, 1) is element 2 * 1 + 1 * 3 = 5 of the parameter.

    Attributes:
        name: The parameter's name.
        index: A meta tensor whose size, strides and offset say which element of the contiguous
            parameter each element is.
        shape: The tensor's shape. It may merge dimensions of the index, where a copy has brought
            together what one stride cannot step through.
        absent: Flags of the parameter's elements that a constant zeroes in this tensor, shape that
            of the parameter; None if there are none.
    """

    name: str
    index: torch.Tensor
    shape: torch.Size
    absent: torch.Tensor | None = None

    @classmethod
    def of(cls, name: str, index: torch.Tensor) -> ParameterView:
        """Return the view that an index stands for."""
        return cls(name, index, index.shape)

    def elements_flagged(self, flags: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Return flags of the parameter's elements that are flagged wherever this view has them.

        Args:
            flags: Flags of the view's elements, of its shape.
            shape: The shape of the parameter.
        """
        index = self.index
        if self.is_whole and index.is_contiguous():
            return flags.reshape(shape).contiguous()
        numbers = torch.arange(shape.numel(), device="cpu")
        numbers = numbers.as_strided(index.shape, index.stride(), index.storage_offset())
        flags = flags.reshape(index.shape)
        flagged = torch.zeros(shape.numel(), dtype=torch.bool, device="cpu")
        flagged[numbers[flags]] = True
        flagged[numbers[~flags]] = False
        return flagged.view(shape)

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the parameter."""
        storage = self.index.untyped_storage().nbytes()
        return self.index.numel() * self.index.element_size() == storage


class ParameterViews:
    """Knows the tensors that come from parameters alone.

    Args:
        model: The model, whose parameters are views of themselves.
    """

    def __init__(self, model: nn.Module) -> None:
        self._views = WeakTensorKeyDictionary()
        self._computed = WeakTensorKeyDictionary()
        self._parameters = dict(model.named_parameters())
        for name, parameter in self._parameters.items():
            index = torch.empty(parameter.shape, device="meta")
            self._views[parameter] = ParameterView.of(name, index)

    def view_of(self, tensor: Any) -> ParameterView | None:
        """Return which elements of which parameter a tensor consists of, None if it does not."""
        return self._views.get(tensor) if isinstance(tensor, torch.Tensor) else None

    def set_view(self, tensor: torch.Tensor, view: ParameterView) -> None:
        """Note that a tensor consists of elements of a parameter."""
        self._views[tensor] = view

    def set_absent(self, tensor: torch.Tensor, absent: torch.Tensor | None) -> None:
        """Note which elements of a parameter a constant zeroes in a view or copy of it."""
        self._views[tensor] = replace(self._views[tensor], absent=absent)

    def shape_of(self, name: str) -> torch.Size:
        """Return the shape of a parameter."""
        return self._parameters[name].shape

    def owner_of(self, tensor: torch.Tensor) -> nn.Parameter | None:
        """Return the parameter whose memory a tensor is, as `weight.data` is, None if it is not."""
        if tensor.layout != torch.strided:
            return None
        for parameter in self._parameters.values():
            if type(parameter) is nn.Parameter and parameter.shape == tensor.shape:
                is_same = parameter.untyped_storage()._cdata == tensor.untyped_storage()._cdata
                if is_same and parameter.stride() == tensor.stride():
                    return parameter
        return None

    def is_computed(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor was computed from parameters."""
        return tensor in self._computed

    def set_computed(self, tensor: torch.Tensor) -> None:
        """Note that a tensor was computed from parameters, and is no constant."""
        self._computed[tensor] = True

    def set_changed(self, tensor: torch.Tensor) -> None:
        """Note that a tensor that was changed in place is no longer a copy of a parameter."""
        for part in (tensor, tensor._base):
            if part is not None and not isinstance(part, nn.Parameter):
                self._views.pop(part, None)
                self.set_computed(part)

    def is_constant(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor neither consists of parameters nor was computed from any."""
        return not self.is_computed(tensor) and self.view_of(tensor) is None
