"""Prune networks that Lightning trains: a callback whose masks are in every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from phew.integrations.masked_run import MaskedRun, masks_of_file
from phew.masks.masks import Masks

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError:
    try:
        from pytorch_lightning import Callback, LightningModule, Trainer  # type: ignore[assignment]
    except ModuleNotFoundError as error:
        raise ImportError(
            "phew.integrations.lightning must find Lightning, got none installed. "
            "Install it with `pip install lightning`."
        ) from error


class PhewCallback(MaskedRun, Callback):
    """Prune the model when `trainer.fit` begins, and hold its pruned weights at zero.

    Each checkpoint has the masks, one bit per weight, beside the states of other callbacks. Where
    `trainer.fit(ckpt_path=...)` resumes, these masks are applied to the weights of the checkpoint:
    nothing is sampled or rescaled anew.

    Every rank of a distributed run prunes by itself, after the weights were made the same on all,
    and so has the same masks. Where weights are sharded, the ranks walk together.

    Args:
        example_inputs: What the model's `forward` accepts; by default its `example_input_array`.
        masks: Masks to apply instead of pruning, e.g. of `phew.Masks.load`.
        arguments: The arguments of `phew.prune`, of which `density` is required; or, with `masks`,
            those of `phew.Masks.apply`.

    Attributes:
        masks: The masks of the model, once `fit` has begun.

    Raises:
        TypeError: If an argument is missing, or is none of the call that it is for. What that call
            raises is raised when `fit` begins.
        ValueError: When `fit` begins, if its checkpoint has no masks, other masks than were given,
            or weights that its masks prune and that are not zero.

    Example:
        >>> from phew.integrations.lightning import PhewCallback
        >>> callback = PhewCallback(density=0.1, exclude="head")  # Trainer(callbacks=[callback])
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune the model, unless the run resumes."""
        if trainer.ckpt_path is None:
            # Capture remembers all that a model refers to, and so all data that a trainer has.
            pl_module.trainer = None
            try:
                self.begin(pl_module)
            finally:
                pl_module.trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """Return the content of a mask file as a tensor, which any way of saving takes."""
        if not self._file:
            return {}
        return {"masks": torch.frombuffer(bytearray(self._file), dtype=torch.uint8)}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Apply the masks of the checkpoint that a run resumes from."""
        if trainer.state.fn == "fit":
            self.resume(pl_module, masks_in(checkpoint), f"the checkpoint {trainer.ckpt_path!r}")


def masks_in(checkpoint: Mapping[str, Any]) -> Masks:
    """Return the masks that `PhewCallback` put into a checkpoint of Lightning.

    Args:
        checkpoint: The content of the file, as `torch.load` returns it.

    Raises:
        ValueError: If there are none.

    Example:
        >>> import phew, torch
        >>> from phew.integrations.lightning import PhewCallback, masks_in
        >>> masks = phew.Masks({"weight": torch.eye(2, 3, dtype=torch.bool)})
        >>> callback = PhewCallback(masks=masks)
        >>> callback.begin(torch.nn.Linear(3, 2))
        >>> masks_in({"callbacks": {callback.state_key: callback.state_dict()}}) == masks
        True
    """
    state = checkpoint.get("callbacks", {}).get(PhewCallback.__qualname__)
    if not state:
        raise ValueError(
            "checkpoint must be one that PhewCallback put masks into, got one without. To prune "
            "the weights in it, load these into the model and call fit without ckpt_path."
        )
    return masks_of_file(state["masks"].cpu().numpy().tobytes())
