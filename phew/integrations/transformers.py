"""Prune networks that the Trainer of transformers trains: a callback that saves their masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phew.integrations.masked_run import MaskedRun
from phew.masks.masks import Masks
from phew.support.files import written_whole

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ModuleNotFoundError as error:
    raise ImportError(
        "phew.integrations.transformers must find transformers, got none installed. "
        "Install it with `pip install transformers accelerate`."
    ) from error

MASKS_NAME = "masks.safetensors"
"""The name of the mask file in a checkpoint's folder."""


class PhewCallback(MaskedRun, TrainerCallback):
    """Prune the model when `trainer.train` begins, and hold its pruned weights at zero.

    Each checkpoint's folder gets a `masks.safetensors`, and so does `output_dir` at the end. Where
    `trainer.train(resume_from_checkpoint=...)` resumes, the masks of the checkpoint are applied to
    its weights: nothing is sampled or rescaled anew. They are looked for in
    `args.resume_from_checkpoint`, and in the folder of that step in `args.output_dir`; give
    `masks=phew.Masks.load(...)` where the checkpoint is elsewhere.

    Every rank of a distributed run prunes by itself, after the weights were made the same on all,
    and so has the same masks. Where weights are sharded, the ranks walk together.

    Args:
        example_inputs: What the model accepts; models of transformers describe it themselves.
        masks: Masks to apply instead of pruning, e.g. of `phew.Masks.load`.
        arguments: The arguments of `phew.prune`, of which `density` is required; or, with `masks`,
            those of `phew.Masks.apply`.

    Attributes:
        masks: The masks of the model, once `train` has begun.

    Raises:
        TypeError: If an argument is missing, or is none of the call that it is for. What that call
            raises is raised when `train` begins.
        ValueError: When `train` begins, if there are no masks beside its checkpoint, others than
            were given, or weights that they prune and that are not zero.

    Example:
        >>> from phew.integrations.transformers import PhewCallback
        >>> callback = PhewCallback(density=0.1, seed=1)  # Trainer(callbacks=[callback])
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Prune the model, or apply the masks of the checkpoint that the run resumes from."""
        model = kwargs["model"]
        if state.global_step == 0:
            self.begin(model)
        else:
            self.resume(model, *self._saved_masks(args, state))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the masks into the folder of a checkpoint."""
        self._write(args, _folder_of_step(args, state))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the masks into the folder of the run."""
        self._write(args, Path(str(args.output_dir)))

    def _write(self, args: TrainingArguments, folder: Path) -> None:
        if args.should_save:
            with written_whole(folder / MASKS_NAME) as partial:
                partial.write_bytes(self._file)

    def _saved_masks(self, args: TrainingArguments, state: TrainerState) -> tuple[Masks, str]:
        """Return the masks of the checkpoint of a step, and what they are from."""
        folders = [_folder_of_step(args, state)]
        if args.resume_from_checkpoint is not None:
            folders.insert(0, Path(args.resume_from_checkpoint))
        for path in (folder / MASKS_NAME for folder in folders):
            if path.is_file():
                return Masks.load(path), f"the checkpoint {str(path.parent)!r}"
        if self._given is not None:
            return self._given, f"the checkpoint of step {state.global_step:,}"
        raise ValueError(
            f"{MASKS_NAME} must be in the folder of the checkpoint that training resumes from, got "
            f"none in {' or '.join(repr(str(folder)) for folder in folders)}. If the checkpoint is "
            "elsewhere, use PhewCallback(masks=phew.Masks.load(...)); to prune the weights in it, "
            "load these into the model and train without resume_from_checkpoint."
        )


def _folder_of_step(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir), f"checkpoint-{state.global_step}")
