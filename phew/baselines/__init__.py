"""Other methods of pruning before training, with the same masks, rules and densities as PHEW.

Each is one function of a model and its example inputs, `(model, example_inputs, *, density, ...)`,
that returns `phew.Masks` of exactly the density and leaves the model as it was. The masks of
`ablation` may keep more, by less than one walk's visits, as those of PHEW do.
"""

from phew.baselines.ablation import ablation
from phew.baselines.erk import erk
from phew.baselines.grasp import grasp
from phew.baselines.magnitude import magnitude
from phew.baselines.random import random
from phew.baselines.snip import snip
from phew.baselines.synflow import synflow, synflow_l2

__all__ = ["ablation", "erk", "grasp", "magnitude", "random", "snip", "synflow", "synflow_l2"]
