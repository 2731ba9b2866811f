"""Power laws through measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Fit(NamedTuple):
    """A power law y = factor * x^exponent, with the half-width of the exponent's 95 % interval."""

    factor: float
    exponent: float
    margin: float

    def __str__(self) -> str:
        low, high = self.exponent - self.margin, self.exponent + self.margin
        return f"{self.exponent:.2f} ({low:.2f} to {high:.2f})"


def fit(x: Sequence[float], y: Sequence[float]) -> Fit:
    """Fit a power law to at least three points by least squares of their logarithms."""
    from scipy import stats  # takes half a second, which no measuring process shall spend

    line = stats.linregress(np.log(x), np.log(y))
    margin = stats.t.ppf(0.975, len(x) - 2) * line.stderr
    return Fit(math.exp(line.intercept), float(line.slope), float(margin))
