"""The methods that `phew compare` compares."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from phew import Masks, baselines, sample_masks


def labelled_methods(seed: int) -> dict[str, tuple[str, Callable[..., Masks]]]:
    """Return the label and the function of each method, by its name on the command line."""
    walks = partial(baselines.ablation, seed=seed)
    return {
        "phew": ("PHEW", partial(sample_masks, seed=seed)),
        "synflow": ("SynFlow", baselines.synflow),
        "synflow-l2": ("SynFlow-L2", baselines.synflow_l2),
        "magnitude": ("magnitude", baselines.magnitude),
        "random": ("random", partial(baselines.random, seed=seed)),
        "random-layer": ("random by layer", partial(baselines.random, seed=seed, scope="layer")),
        "erk": ("ERK", partial(baselines.erk, seed=seed)),
        "uniform-walks": ("uniform walks", partial(walks, variant="uniform")),
        "inverse-walks": ("inverse walks", partial(walks, variant="inverse")),
        "squared-walks": ("PHEW2", partial(walks, variant="squared")),
        "kernel-walks": ("kernel PHEW", partial(walks, variant="kernel")),
    }


def parse_methods(text: str, seed: int) -> dict[str, Callable[..., Masks]]:
    """Return the functions of the methods that `--methods` names, by their labels."""
    known = labelled_methods(seed)
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name in ("snip", "grasp"):
            raise ValueError(
                f"--methods must be of those that need no data, got {name!r}. "
                f"In Python, phew.baselines.{name} takes a loss on data."
            )
        if name not in known:
            raise ValueError(
                f"--methods must be names with commas, of {', '.join(known)}, got {name!r}."
            )
    return dict(known[name] for name in names)
