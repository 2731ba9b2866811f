"""The masks of a training run that a callback takes care of."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed as dist
from torch import nn

from phew.api import prune
from phew.distributed.sharding import is_sharded
from phew.masks.held import is_pruned
from phew.masks.masks import Masks
from phew.support.warn import listed


class MaskedRun:
    """The masks of one training run, which are the same from its start to its last checkpoint.

    Callbacks derive from it, and say when a run begins, resumes and saves.

    Args:
        example_inputs: What the model accepts (see `phew.prune`).
        masks: Masks that exist already; without them the model is pruned when a run begins.
        arguments: The arguments of `phew.prune`, e.g. `density`; with `masks` those of
            `phew.Masks.apply`, e.g. `rescale`.

    Attributes:
        masks: The masks of the last run that has begun or resumed, None before.

    Raises:
        TypeError: If an argument is missing or is none of that call's.
    """

    def __init__(
        self, example_inputs: Any = None, *, masks: Masks | None = None, **arguments: Any
    ) -> None:
        call: Callable[..., Any]
        if masks is None:
            call, arguments = prune, {"example_inputs": example_inputs, **arguments}
        elif example_inputs is None:
            call = masks.apply
        else:
            raise TypeError("example_inputs must be left out where masks are given.")
        try:
            inspect.signature(call).bind(nn.Module(), **arguments)
        except TypeError as error:
            raise TypeError(
                f"{type(self).__name__} must be given the arguments of phew.prune, or masks and "
                f"those of phew.Masks.apply, got another call: {error}."
            ) from None
        self.masks: Masks | None = None
        self._given = masks
        self._arguments = arguments
        self._file = b""

    def begin(self, model: nn.Module) -> None:
        """Prune a model that was not trained, or apply the masks that were given.

        A model that goes on to be trained, in a second run, keeps the masks of the first.

        Raises:
            ValueError: If the model is under masks that this callback has not been given.
        """
        given = self._given
        if is_pruned(model):
            masks = given if given is not None else self.masks
            if masks is None:
                raise ValueError(
                    "model must not be pruned before a callback prunes it, got one under masks. "
                    f"Use {type(self).__name__}(masks=phew.Masks.of(model))."
                )
            # Its weights were rescaled when they were pruned, and may have been trained since.
            masks.apply(model)
        elif given is not None:
            masks = given
            masks.apply(model, **self._arguments)
        else:
            # Ranks gather the weights that they walk over together.
            group = dist.group.WORLD if any(map(is_sharded, model.parameters())) else None
            masks = prune(model, **{"group": group, **self._arguments})
        self._keep(masks)

    def resume(self, model: nn.Module, saved: Masks, source: str) -> None:
        """Apply the masks of a checkpoint to a model that has the checkpoint's weights.

        Args:
            model: The model.
            saved: The masks.
            source: What they are from, for messages.

        Raises:
            ValueError: If other masks were given, or pruned weights are not zero: then the model
                has other weights than those that were trained under the masks, because the
                checkpoint lacks them, or was not loaded.
        """
        if self._given is not None and self._given != saved:
            raise ValueError(
                f"masks must be those of the run that is resumed, got others than {source} has. "
                "Leave masks out."
            )
        if not_zero := saved.check(model):
            raise ValueError(
                f"model must have the weights of {source}, got "
                f"{sum(not_zero.values()):,} weights that its masks prune and that are not zero, "
                f"in {listed(map(repr, not_zero))}. Load them before the run resumes, e.g. by "
                "from_pretrained: a checkpoint of adapters has not those of the pruned base."
            )
        saved.apply(model)
        self._keep(saved)

    def _keep(self, masks: Masks) -> None:
        """Remember masks, and the mask file that checkpoints get.

        Masks do not change while a model is trained. All ranks make the file, because sharded masks
        are gathered for it, although one of them may be the only one that writes.
        """
        self.masks = masks
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "masks.safetensors")
            masks.save(path)
            self._file = path.read_bytes()


def masks_of_file(content: bytes) -> Masks:
    """Return the masks in the content of a mask file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "masks.safetensors")
        path.write_bytes(content)
        return Masks.load(path)
