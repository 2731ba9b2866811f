"""The weights that a method may prune, and the best of them by score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from phew.arguments import Selectors, as_density, as_module, num_to_keep
from phew.capture.graph_of import as_graph
from phew.graph.reach import absent_weights
from phew.graph.walk_graph import WalkGraph
from phew.masks.assembly import assemble_masks
from phew.masks.collapse import warn_of_collapse
from phew.masks.facts import Scalar
from phew.masks.masks import Masks

Scores = dict[str, torch.Tensor]
"""Per prunable parameter, a score for each weight."""


@dataclass(frozen=True)
class Problem:
    """A captured model, and the share of its weights that is to be kept.

    Attributes:
        model: The model, without a wrapper around it.
        graph: What was captured of it.
        density: Kept / prunable weights.
        num_kept: The number of weights that the density keeps.
        absent: Flags of the weights that no method keeps, because constants of the model zero them
            (see `absent_weights`).
    """

    model: nn.Module
    graph: WalkGraph
    density: float
    num_kept: int
    absent: Mapping[str, torch.Tensor]

    @classmethod
    def of(
        cls,
        model: nn.Module,
        example_inputs: Any,
        density: float,
        include: Selectors | None,
        exclude: Selectors,
    ) -> Problem:
        """Capture a model.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If the density is not in (0, 1], keeps no weight, or more than constants of
                the model leave.
        """
        density = as_density(density)
        model = as_module(model)
        graph = as_graph(model, example_inputs, include, exclude)
        num_kept = num_to_keep(density, graph.num_prunable_weights)
        problem = cls(model, graph, density, num_kept, absent_weights(graph))
        num_left = sum(problem.sizes.values())
        if num_kept > num_left:
            names = ", ".join(map(repr, problem.absent))
            raise ValueError(
                f"density {density} is out of reach: constants of the model zero weights of "
                f"{names}, which leaves {num_left / graph.num_prunable_weights:.1%} of the "
                "prunable weights. Lower the density."
            )
        return problem

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The prunable parameters, detached."""
        return {name: self.graph.parameters[name].detach() for name in self.graph.prunable}

    @property
    def sizes(self) -> dict[str, int]:
        """The number of weights of each prunable parameter that are not absent."""
        return {
            name: weight.numel()
            - (int(self.absent[name].count_nonzero()) if name in self.absent else 0)
            for name, weight in self.weights.items()
        }

    @property
    def density_of_sizes(self) -> float:
        """The share of the weights that are not absent which the density keeps."""
        return self.density * (self.graph.num_prunable_weights / sum(self.sizes.values()))

    def without_absent(self, scores: Scores) -> Scores:
        """Return scores of which those of absent weights are the lowest."""
        return {
            name: score.masked_fill(self.absent[name].to(score.device), -torch.inf)
            if name in self.absent
            else score
            for name, score in scores.items()
        }

    def keep_best(self, scores: Scores, *, method: str) -> Masks:
        """Make masks that keep the weights of the highest scores."""
        kept = best(self.without_absent(scores), self.num_kept)
        return self.keep(kept, method=method)

    def keep(
        self,
        kept: Mapping[str, torch.Tensor],
        *,
        method: str,
        reads_weights: bool = True,
        **info: Scalar,
    ) -> Masks:
        """Make masks of the kept weights.

        Args:
            kept: Per prunable parameter, a boolean tensor of its shape.
            method: The name of the method.
            reads_weights: Whether it chose the kept weights by their values (see
                `assemble_masks`).
            info: What else tells how the masks were made.
        """
        info = {"method": method, "density": self.density, **info}
        masks = assemble_masks(self.graph, kept, info, reads_weights=reads_weights)
        warn_of_collapse(self.graph, [masks])
        return masks


def best(scores: Scores, num_kept: int) -> dict[str, torch.Tensor]:
    """Flag exactly `num_kept` weights, those of the highest scores; of equal scores the first.

    Raises:
        ValueError: If a score is NaN.
    """
    flat = torch.cat([score.reshape(-1) for score in scores.values()])
    if flat.isnan().any():
        name = next(name for name, score in scores.items() if score.isnan().any())
        raise ValueError(f"the score of every weight must be a number, got NaN in {name!r}.")
    threshold = flat.kthvalue(len(flat) - num_kept + 1).values
    kept = flat > threshold
    equal = (flat == threshold).nonzero().squeeze(1)
    kept[equal[: num_kept - int(kept.count_nonzero())]] = True
    parts = kept.split([score.numel() for score in scores.values()])
    return {
        name: part.view(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }
