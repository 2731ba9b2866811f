"""Which tensors have values that are known while a model is captured, whatever its input."""

from __future__ import annotations

import torch
from torch import nn

from phew.capture.activations import Activations
from phew.capture.by_tensor import ByTensor
from phew.capture.parameter_views import ParameterViews


class MissingValuesError(ValueError):
    """Raised where units are chosen by the values of a constant that has none."""


class Values:
    """Tells constants, whose values may say which units are joined, from all other tensors.

    Args:
        model: The model.
        activations: The labels of the tensors that depend on the model's input.
        parameters: The tensors that come from parameters.
    """

    def __init__(
        self, model: nn.Module, activations: Activations, parameters: ParameterViews
    ) -> None:
        self._activations = activations
        self._parameters = parameters
        self._buffers = {id(buffer): name for name, buffer in model.named_buffers()}
        # Tensors without labels whose values would be others for another input.
        self._uncertain = ByTensor[bool]()
        # Constants that a tensor without data was written into: their values are out of date.
        self._overwritten = ByTensor[bool]()
        # Constants that follow from random numbers: another run has other values.
        self._drawn = ByTensor[bool]()

    def are_uncertain(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor's values follow from the model's input."""
        return tensor in self._uncertain or self._activations.labels_of(tensor) is not None

    def are_missing(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor has only its shape where a model runs on shapes."""
        return (
            tensor.is_meta
            or isinstance(tensor, nn.Parameter)
            or tensor in self._overwritten
            or self._activations.labels_of(tensor) is not None
        )

    def are_known(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor is a constant whose values are known, whatever the input."""
        return not (
            self.are_missing(tensor)
            or self.are_uncertain(tensor)
            or not self._parameters.is_constant(tensor)
        )

    def are_fixed(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor is a constant whose values are known, and the same in any run."""
        return self.are_known(tensor) and tensor not in self._drawn

    def are_drawn(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor's values follow from random numbers."""
        return tensor in self._drawn

    def set_drawn(self, tensor: torch.Tensor) -> None:
        """Note that a tensor's values follow from random numbers."""
        self._drawn[tensor] = True

    def set_uncertain(self, tensor: torch.Tensor) -> None:
        """Note that a tensor's values follow from the model's input."""
        self._uncertain[tensor] = True

    def set_overwritten(self, tensor: torch.Tensor) -> None:
        """Note that a tensor without data was written into a tensor."""
        self._overwritten[tensor] = True

    def check(self, tensor: torch.Tensor, module: str) -> None:
        """Refuse a constant on the meta device where its values say which units are joined.

        Args:
            tensor: The tensor.
            module: The name of the module that reads it.

        Raises:
            MissingValuesError: If it is one.
        """
        is_constant = not self.are_uncertain(tensor) and self._parameters.is_constant(tensor)
        if not tensor.is_meta or not is_constant:
            return
        name = self._buffers.get(id(tensor))
        where = f" in {module!r}" if module else ""
        what = f"buffer {name!r}" if name else f"a constant{where}"
        raise MissingValuesError(
            f"model must hold the values of {what}, which say which units are joined, got one on "
            "the meta device. Build the model, or its buffers alone, without torch.device('meta')."
        )
