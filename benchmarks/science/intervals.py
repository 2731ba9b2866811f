"""Means with 95 % intervals of Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean, and the distance from it to the ends of its interval: infinite for one value."""

    mean: float
    margin: float

    @property
    def is_above_zero(self) -> bool:
        return self.mean > self.margin

    @property
    def is_below_zero(self) -> bool:
        return self.mean < -self.margin

    def percent(self) -> str:
        """Format the interval as percentages, e.g. "93.1 ± 0.4"."""
        if math.isinf(self.margin):
            return f"{100 * self.mean:.1f}"
        return f"{100 * self.mean:.1f} ± {100 * self.margin:.1f}"


def interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Return the mean of a sample and its interval, both NaN if a value is not finite."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.inf)
    quantile = stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    return Interval(mean, float(quantile * np.std(values, ddof=1)) / math.sqrt(len(values)))
