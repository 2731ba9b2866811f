"""Which tensors are views of parameters or copies of them, and which are computed from some."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from phew.capture.by_tensor import ByTensor
from phew.capture.labels import equal_products
from phew.capture.mosaics import SPAN, Mosaic, numbers_of, strided


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

    @property
    def steps(self) -> tuple[str, tuple[int, ...], tuple[int, ...], int]:
        """The parameter's name, and the sizes, strides and offset that lead through it."""
        index = self.index
        return self.name, tuple(index.shape), index.stride(), int(index.storage_offset())

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the parameter."""
        storage = self.index.untyped_storage().nbytes()
        return self.index.numel() * self.index.element_size() == storage

    def dims_in(self, shape: torch.Size, dims: Iterable[int]) -> set[int]:
        """Return the dimensions of the parameter that some of the view's dimensions go through.

        Args:
            shape: The parameter's shape.
            dims: Dimensions of the view.
        """
        index_dims = [
            old
            for old_dims, new_dims in equal_products(self.index.shape, self.shape)
            if not set(dims).isdisjoint(new_dims)
            for old in old_dims
        ]
        found, step = set(), 1
        for dim in reversed(range(len(shape))):
            for each in index_dims:
                size, stride = self.index.shape[each], self.index.stride(each)
                if size > 1 and stride < step * shape[dim] and step < stride * size:
                    found.add(dim)
            step *= shape[dim]
        return found


@dataclass(frozen=True)
class Origin:
    """The parameters that a tensor is computed from, where it is no plain view or copy of one.

    `weight - weight.mean()` is computed from `weight` and is zero where all of it is zero, but not
    where one element alone is: zeroing elements does not zero those of the result, so it is
    composed. `weight / weight.norm()` is not, and is 0 / 0 where all of `weight` is zero.

    Attributes:
        names: The names of all parameters, those included that only scale it.
        at_zero: What each element is where all of these parameters are zero, None if not known.
        composed_of: The parameters that it consists of, if it is composed; else none.
        composed_by: The operation that composed it: "sub in 'layer1'".
    """

    names: frozenset[str]
    at_zero: float | None = None
    composed_of: frozenset[str] = frozenset()
    composed_by: str | None = None


class ParameterViews:
    """Knows the tensors that come from parameters alone.

    A tensor may consist of elements of one parameter at strides (a view), or of elements of several
    or in any order (a mosaic), or be computed otherwise. The first two may be computed too, element
    by element: they then have an origin besides.

    Args:
        model: The model, whose parameters are views of themselves.
    """

    def __init__(self, model: nn.Module) -> None:
        self._views = ByTensor[ParameterView]()
        self._mosaics = ByTensor[Mosaic]()
        self._origins = ByTensor[Origin]()
        self._parameters = dict(model.named_parameters())
        self._names = list(self._parameters)
        self._whole: dict[str, torch.Tensor] = {}
        for name, parameter in self._parameters.items():
            self._whole[name] = torch.empty(parameter.shape, device="meta")
            self._views[parameter] = ParameterView.of(name, self._whole[name])

    def view_of(self, tensor: Any) -> ParameterView | None:
        """Return which elements of which parameter a tensor consists of, None if it does not."""
        return self._views.get(tensor) if isinstance(tensor, torch.Tensor) else None

    def mosaic_of(self, tensor: Any) -> Mosaic | None:
        """Return the elements of parameters that a tensor is put together from, None if of none."""
        return self._mosaics.get(tensor) if isinstance(tensor, torch.Tensor) else None

    def elements_of(self, tensor: Any) -> ParameterView | Mosaic | None:
        """Return which elements of parameters a tensor consists of, None if of none."""
        return self.view_of(tensor) or self.mosaic_of(tensor)

    def origin_of(self, tensor: Any) -> Origin | None:
        """Return what a tensor was computed from, None for a constant."""
        if not isinstance(tensor, torch.Tensor):
            return None
        origin = self.computed_of(tensor)
        if origin is None and (view := self.view_of(tensor)) is not None:
            return Origin(frozenset([view.name]), at_zero=0.0)
        return origin

    def computed_of(self, tensor: torch.Tensor) -> Origin | None:
        """Return what a tensor was computed from, None for a constant, or a plain view."""
        return self._origins.get(tensor)

    def set_view(
        self, tensor: torch.Tensor, view: ParameterView, origin: Origin | None = None
    ) -> None:
        """Note that a tensor consists of elements of a parameter, which may be scaled."""
        self._views[tensor] = view
        self._mosaics.discard(tensor)
        self._set_origin(tensor, origin)

    def set_mosaic(self, tensor: torch.Tensor, mosaic: Mosaic, origin: Origin) -> None:
        """Note that a tensor is put together from elements of parameters."""
        piece = strided(mosaic.numbers)
        if piece is not None and piece.strides is not None:
            self.set_view(tensor, self.piece_view(mosaic.shape, piece.first, piece.strides), origin)
            return
        self._views.discard(tensor)
        self._mosaics[tensor] = mosaic
        self._set_origin(tensor, origin)

    def absent_of(self, tensor: torch.Tensor, name: str) -> torch.Tensor | None:
        """Return which elements of a parameter constants have zeroed in a tensor, None for none."""
        elements = self.elements_of(tensor)
        if isinstance(elements, Mosaic):
            return elements.absent.get(name)
        return None if elements is None else elements.absent

    def zeroed_in(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Flag the elements of a tensor that constants have zeroed, of its shape; None for none."""
        elements = self.elements_of(tensor)
        if isinstance(elements, Mosaic):
            numbers, absent = elements.numbers, elements.absent
            zeroed = numbers < 0
        elif elements is not None and elements.absent is not None:
            mosaic = self.mosaic_from(elements)
            numbers, absent = mosaic.numbers, mosaic.absent
            zeroed = torch.zeros(elements.shape, dtype=torch.bool, device="cpu")
        else:
            return None
        for name, flags in absent.items():
            own = numbers // SPAN == self._names.index(name)
            zeroed[own] |= flags.flatten()[numbers[own] % SPAN]
        return zeroed if zeroed.any() else None

    def set_absent(self, tensor: torch.Tensor, name: str, absent: torch.Tensor | None) -> None:
        """Note which elements of a parameter constants zero in a tensor.

        Args:
            tensor: A tensor that consists of elements of the parameter.
            name: The parameter's name.
            absent: Flags of the parameter's elements, of its shape; None if there are none.
        """
        elements = self.elements_of(tensor)
        if isinstance(elements, ParameterView):
            self._views[tensor] = replace(elements, absent=absent)
        elif elements is not None:
            known = {**elements.absent, name: absent}
            flags = {each: flags for each, flags in known.items() if flags is not None}
            self._mosaics[tensor] = replace(elements, absent=flags)

    def elements_flagged(
        self, tensor: torch.Tensor, name: str, flags: torch.Tensor
    ) -> torch.Tensor:
        """Return flags of a parameter's elements that are flagged wherever a tensor has them.

        Args:
            tensor: A tensor that consists of elements of the parameter.
            name: The parameter's name.
            flags: Flags of the tensor's elements, of its shape.
        """
        view = self.view_of(tensor)
        if view is not None and view.is_whole and view.index.is_contiguous():
            return flags.reshape(self.shape_of(name)).contiguous()
        numbers = self.numbers_of(tensor)
        assert numbers is not None
        numbers = numbers - self._names.index(name) * SPAN
        is_own = (numbers >= 0) & (numbers < SPAN)
        flagged = torch.zeros(self.shape_of(name).numel(), dtype=torch.bool, device="cpu")
        flagged[numbers[is_own & flags]] = True
        flagged[numbers[is_own & ~flags]] = False
        return flagged.view(self.shape_of(name))

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
        return tensor in self._origins

    def set_computed(self, tensor: torch.Tensor, origin: Origin) -> None:
        """Note that a tensor was computed from parameters, and is no constant."""
        self._origins[tensor] = origin

    def leave_out(self, parameter: torch.Tensor) -> None:
        """Take a parameter, whose elements are not in its own memory, for a computed tensor."""
        self._views.discard(parameter)
        self.set_computed(parameter, Origin(frozenset()))

    def set_changed(self, tensor: torch.Tensor, origin: Origin) -> None:
        """Note that a tensor that was changed in place is no longer a copy of a parameter."""
        for part in (tensor, tensor._base):
            if part is not None and not isinstance(part, nn.Parameter):
                before = self.origin_of(part)
                names = origin.names | (before.names if before else frozenset())
                self._views.discard(part)
                self._mosaics.discard(part)
                self.set_computed(part, replace(origin, names=names))

    def is_constant(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor neither consists of parameters nor was computed from any."""
        return self.origin_of(tensor) is None

    def numbers_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the numbers of the elements that a tensor consists of (see `Mosaic`)."""
        view, mosaic = self.view_of(tensor), self.mosaic_of(tensor)
        if view is not None:
            return self.mosaic_from(view).numbers
        return None if mosaic is None else mosaic.numbers

    def mosaic_from(self, view: ParameterView) -> Mosaic:
        """Return a view as a mosaic."""
        owner = self._names.index(view.name)
        absent = {} if view.absent is None else {view.name: view.absent}
        return Mosaic(numbers_of(owner, view.index, view.shape), absent)

    def piece_view(self, shape: Sequence[int], first: int, strides: Sequence[int]) -> ParameterView:
        """Return the view that a piece of a mosaic is."""
        name = self._names[first // SPAN]
        index = self._whole[name].as_strided(shape, strides, first % SPAN)
        return ParameterView.of(name, index)

    def names_in(self, elements: ParameterView | Mosaic) -> frozenset[str]:
        """Return the names of the parameters that elements are of."""
        if isinstance(elements, ParameterView):
            return frozenset([elements.name])
        return frozenset(self._names[owner] for owner in elements.owners)

    def shape_of(self, name: str) -> torch.Size:
        """Return the shape of a parameter."""
        return self._parameters[name].shape

    def precedence(self, view: ParameterView) -> tuple[bool, int, int]:
        """Order views of which weights could be the elements, scaled: the first is the least.

        Those that are trained come first, then those of the larger parameter, then of the earlier.
        """
        is_trained = self._parameters[view.name].requires_grad
        size = view.index.untyped_storage().nbytes()
        return not is_trained, -size, self._names.index(view.name)

    def _set_origin(self, tensor: torch.Tensor, origin: Origin | None) -> None:
        if origin is None:
            self._origins.discard(tensor)
        else:
            self._origins[tensor] = origin
