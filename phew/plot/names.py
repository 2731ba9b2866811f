"""Short names that still tell the layers of a network apart."""

from __future__ import annotations

from collections.abc import Sequence

from phew.support.tables import shortened

_LONGEST = 20


def short_names(parameters: Sequence[str], longest: int = _LONGEST) -> list[str]:
    """Shorten names of parameters in the middle, as much as they stay different.

    Args:
        parameters: The names.
        longest: The letters that a name may have, more where names would be equal.

    Example:
        >>> short_names(["stages.0.blocks.0.conv1.weight", "stages.0.blocks.1.conv1.weight"], 16)
        ['stages...0.conv1', 'stages...1.conv1']
    """
    names = [name.removesuffix(".weight") for name in parameters]
    if len(set(names)) < len(set(parameters)):
        names = list(parameters)
    num_different = len(set(names))
    for length in range(longest, max(map(len, names), default=0)):
        short = [shortened(name, length) for name in names]
        if len(set(short)) == num_different:
            return short
    return names
