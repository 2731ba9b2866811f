"""The base of sparse layers: their state, and the way from dense layers and back.

Their weight is the vector of the kept weights of a mask, and nothing else.

A layer keeps the attributes, hooks and other parameters of the dense layer that it was. Where the
kept weights are is no buffer: DistributedDataParallel sends buffers around in each step, and
`to_empty` leaves them without values. `state_dict()` holds it, as the bits of the mask.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from phew.masks.held import MaskedWeight
from phew.masks.packed import unpack
from phew.sparse.choice import chosen_way
from phew.sparse.geometry import Geometry, Way, check_way
from phew.sparse.indices import Indices, indices_of
from phew.sparse.products import expand, gather, product


class SparseLayer(nn.Module, MaskedWeight):
    """The base of sparse layers: the state, and the way from dense layers and back.

    Attributes:
        weight: The kept weights.
        bias: As the dense layer has it.
        indices: Where the kept weights are, on the device of the weight; on one with data still if
            the weight is on the meta device.
        dense_class: The class of the dense layer.
        way: How products are made, on CPUs and of float32, float64 and bfloat16: "sparse", by loops
            over kept weights alone; "dense", by expanding the weight for the moment of each
            product; "auto", in whichever of these ways is faster. All else is done in the dense
            way.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    indices: Indices
    dense_class: type[nn.Module]

    _geometry: Geometry
    _is_transposed: bool

    _own_attributes: ClassVar[tuple[str, ...]] = (
        "indices",
        "dense_class",
        "_geometry",
        "_is_transposed",
    )

    @classmethod
    def from_dense(cls, layer: nn.Module, mask: Tensor, *, way: Way = "auto") -> SparseLayer:
        """Make a sparse layer of a dense one, which stays as it is.

        Args:
            layer: The dense layer. Other parameters than its weight are shared with it.
            mask: Bool, of the shape of the weight; true = kept.
            way: See the attribute.

        Returns:
            The sparse layer.

        Raises:
            ValueError: If the mask is not that of the layer's weight, or there is no such way.

        Example:
            >>> import torch, phew
            >>> layer = phew.sparse.Linear.from_dense(torch.nn.Linear(3, 2), torch.eye(2, 3) > 0)
            >>> layer
            Linear(in_features=3, out_features=2, bias=True, kept=2/6)
        """
        weight = layer.get_parameter("weight")
        if mask.shape != weight.shape or mask.dtype != torch.bool:
            raise ValueError(
                f"mask must be bool, of the shape {tuple(weight.shape)} of the weight, got "
                f"{mask.dtype}, {tuple(mask.shape)}."
            )
        check_way(way)
        sparse = copy.copy(layer)
        for name, value in layer.__dict__.items():
            if isinstance(value, dict | set):
                sparse.__dict__[name] = copy.copy(value)
        cls.change_to_sparse(sparse, mask, way)()
        assert isinstance(sparse, SparseLayer)
        return sparse

    @classmethod
    @torch.inference_mode(False)
    @torch.no_grad()
    def change_to_sparse(
        cls, layer: nn.Module, mask: Tensor, way: Way, scale: Tensor | None = None
    ) -> Callable[[], None]:
        """Prepare the change of a dense layer into one of this class, in place.

        Args:
            layer: The dense layer, which is changed when what is returned is called.
            mask: Bool, of the shape of the weight; true = kept.
            way: See the attribute.
            scale: What the dense weight is multiplied by, of its shape; None for 1.

        Returns:
            A function that makes the change.
        """
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        attributes = cls._attributes_for(layer)
        attributes["_geometry"] = attributes["_geometry"]._replace(way=way)
        transposed = attributes["_is_transposed"]
        if not weight.is_meta:
            mask = mask.to(weight.device)
        indices = indices_of(mask.t().contiguous() if transposed else mask)
        attributes |= {"indices": indices, "dense_class": type(layer)}

        def kept(dense: Tensor) -> Tensor:
            return gather(dense.t() if transposed else dense, indices)

        vector = _parameter_like(weight, kept)
        if scale is not None:
            vector.mul_(kept(scale))

        def change() -> None:
            layer.__class__ = cls
            layer.__dict__.update(attributes)
            layer._parameters["weight"] = vector

        return change

    @torch.inference_mode(False)
    @torch.no_grad()
    def change_to_dense(self) -> Callable[[], None]:
        """Prepare the change into the dense layer that this was, in place.

        Returns:
            A function that makes the change.
        """
        weight = _parameter_like(self.weight, self._expanded)

        def change() -> None:
            self._parameters["weight"] = weight
            dense_class = self.dense_class
            for name in self._own_attributes:
                self.__dict__.pop(name, None)
            self.__class__ = dense_class  # type: ignore[assignment]

        return change

    @classmethod
    def _attributes_for(cls, layer: nn.Module) -> dict[str, Any]:
        """Return the attributes that say how this layer applies its weight."""
        raise NotImplementedError

    @property
    def dense_shape(self) -> tuple[int, ...]:
        """The shape of the dense weight."""
        shape = self._rows_shape
        return shape[::-1] if self._is_transposed else shape

    @property
    def way(self) -> Way:
        """How products are made."""
        return self._geometry.way

    @way.setter
    def way(self, way: Way) -> None:
        check_way(way)
        self._geometry = self._geometry._replace(way=way)

    def chosen_way(self, input: Tensor) -> Literal["sparse", "dense"]:
        """Return which way an input of this shape, type and device goes."""
        (images,) = _as_autocast(input, self._as_images(input))
        return chosen_way("product", images, self.indices, self._geometry)

    @property
    def mask(self) -> Tensor:
        """The bits of the mask, which torch.distributed.checkpoint looks up by their key."""
        return self.indices.mask

    def dense_weight(self) -> Tensor:
        """Return the dense weight, with zeros where nothing is kept; it is differentiable."""
        return self._expanded(self.weight)

    def dense_mask(self) -> Tensor:
        """Return the mask (bool) of the dense weight, on the CPU."""
        mask = unpack(self.indices.mask.cpu(), torch.Size(self._rows_shape))
        return mask.t().contiguous() if self._is_transposed else mask

    def extra_repr(self) -> str:
        """The dense layer's own, and how many weights are kept."""
        kept = f"kept={self.weight.numel():,}/{self._num_weights:,}"
        dense = self.dense_class.extra_repr(self)
        return f"{dense}, {kept}" if dense else kept

    def _as_images(self, input: Tensor) -> Tensor:
        """Return the input of a layer as its product takes it."""
        raise NotImplementedError

    @property
    def _num_weights(self) -> int:
        return self._geometry.num_columns * self.indices.num_rows

    @property
    def _rows_shape(self) -> tuple[int, ...]:
        """The shape of the dense weight, with its output channels first."""
        return self._geometry.dense_shape(self.indices.num_rows)

    def _expanded(self, weight: Tensor) -> Tensor:
        dense = expand(weight, self._indices_on(weight.device), self._rows_shape)
        return dense.t().contiguous() if self._is_transposed else dense

    def _product(self, input: Tensor) -> Tensor:
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        input, weight, *biases = _as_autocast(
            input, input, weight, *([] if bias is None else [bias])
        )
        bias = biases[0] if biases else None
        indices = self.indices
        if indices.columns.device != weight.device:
            indices = self._indices_on(weight.device)
        return product(input, weight, bias, indices, self._geometry)

    def _indices_on(self, device: torch.device) -> Indices:
        """Return where the kept weights are, and keep it on a device unless that has no data."""
        if self.indices.columns.device == device:
            return self.indices
        moved = Indices(*(tensor.to(device) for tensor in self.indices))
        if device.type != "meta":
            self.indices = moved
        return moved

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._indices_on(self.weight.device)
        return self

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}mask"] = self.indices.mask

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Take a sparse state, or the state of a dense layer."""
        obstacle = self.obstacle_to_loading(state_dict, prefix)
        if obstacle is not None:
            error_msgs.append(obstacle)
            return
        key, mask_key = f"{prefix}weight", f"{prefix}mask"
        state_dict = dict(state_dict)
        weight, mask = state_dict.get(key), state_dict.pop(mask_key, None)
        if mask is None and weight is not None and weight.dim() > 1:
            dense = weight.detach().t() if self._is_transposed else weight.detach()
            state_dict[key] = gather(dense, self._indices_on(weight.device))
        elif mask is None:
            missing_keys.append(mask_key)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def obstacle_to_loading(self, state_dict: dict[str, Any], prefix: str) -> str | None:
        """Say what keeps this layer from loading a state, if anything does."""
        key = f"{prefix}weight"
        weight, mask = state_dict.get(key), state_dict.get(f"{prefix}mask")
        if weight is None:
            return None
        own, shape = self.indices.mask, tuple(weight.shape)
        num_kept = self.weight.numel()
        if mask is None and weight.dim() > 1:
            if shape == self.dense_shape:
                return None
            return (
                f"{key!r} must have the dense weight's shape {self.dense_shape}, or be the "
                f"{num_kept:,} kept weights with their mask, got the shape {shape}."
            )
        if mask is not None and not (
            mask.dtype == own.dtype and mask.shape == own.shape and mask.to(own.device).equal(own)
        ):
            return (
                f"{key!r} must have the mask of its layer, got another. phew.load_sparse takes a "
                "dense model, and makes it that of the state."
            )
        if shape != (num_kept,):
            return f"{key!r} must have {num_kept:,} kept weights, got the shape {shape}."
        return None


def _as_autocast(input: Tensor, *tensors: Tensor) -> list[Tensor]:
    """Return tensors as autocast has them for an operation on an input: it leaves doubles."""
    device = input.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return [*tensors]
    dtype = torch.get_autocast_dtype(device)
    return [tensor if tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in tensors]


def _parameter_like(old: nn.Parameter, convert: Callable[[Tensor], Tensor]) -> nn.Parameter:
    """Return a parameter with another's converted values and gradient, and its attributes."""
    new = nn.Parameter(convert(old.detach()), requires_grad=old.requires_grad)
    if old.grad is not None:
        new.grad = convert(old.grad.detach())
    new.__dict__.update(old.__dict__)
    return new
