"""The facts that masks know beside what they keep: units, fan-ins, and how they were made."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import torch

from phew.graph.fan_in import FanIn, check_fan_ins

Scalar: TypeAlias = str | int | float | bool

_Fact = TypeVar("_Fact")


class Facts(NamedTuple):
    """The facts of some masks; `phew.Masks` says what each is."""

    active_units: Mapping[str, tuple[int, int]]
    fan_ins: Mapping[str, tuple[FanIn, ...]]
    digests: Mapping[str, str]
    info: Mapping[str, Scalar]

    @classmethod
    def of(
        cls,
        active_units: Mapping[str, tuple[int, int]] | None,
        fan_ins: Mapping[str, Sequence[FanIn]] | None,
        digests: Mapping[str, str] | None,
        info: Mapping[str, Scalar] | None,
    ) -> Facts:
        """Copy facts that callers give; None stands for none."""
        return cls(
            dict(active_units or {}),
            {name: tuple(each) for name, each in (fan_ins or {}).items()},
            dict(digests or {}),
            dict(info or {}),
        )

    def and_those(self, others: Facts) -> Facts:
        """Return what is known of masks that were combined from these and others.

        Their `info` tells what both were made from, if that is the same, and not how.
        """
        info = {key: self.info[key] for key in ("graph", "weights") if key in self.info}
        return Facts(
            {},
            {**others.fan_ins, **self.fan_ins},
            _in_both(self.digests, others.digests),
            _in_both(info, others.info),
        )


def check_facts(facts: Facts, shapes: Mapping[str, torch.Size]) -> None:
    """Raise TypeError or ValueError unless facts are those of masks of some shapes."""
    check_active_units(facts.active_units, shapes)
    check_fan_ins(facts.fan_ins, shapes)
    check_digests(facts.digests, shapes)
    check_info(facts.info)


def check_names(masks: Container[str], unit_masks: Iterable[str]) -> None:
    """Raise ValueError if a name is that of a mask and of a unit mask."""
    for name in unit_masks:
        if name in masks:
            raise ValueError(
                f"unit_masks must name other parameters than masks, got {name!r} in both. "
                "Leave it out of one."
            )


def check_info(info: Mapping[str, object]) -> None:
    """Raise TypeError if a value is not one that a mask file can hold."""
    for key, value in info.items():
        if not isinstance(value, str | int | float | bool):
            raise TypeError(
                f"info[{key!r}] must be a str, int, float or bool, got {value!r}. "
                "Convert it, e.g. with tensor.item()."
            )


def check_active_units(active_units: Mapping[str, Any], masks: Container[str]) -> None:
    """Raise an error unless each value counts active units of all units of a mask's parameter.

    Raises:
        TypeError: If a value is no pair of int.
        ValueError: If one counts more active units than units, or is of no mask.
    """
    for name, counts in active_units.items():
        is_pair = isinstance(counts, Sequence) and len(counts) == 2
        if not is_pair or not all(type(count) is int for count in counts):
            raise TypeError(
                f"active_units[{name!r}] must be two int, the active units and all, got {counts!r}."
            )
        if not 0 <= counts[0] <= counts[1]:
            raise ValueError(
                f"active_units[{name!r}] must be at most all units, got {counts[0]} of {counts[1]}."
            )
        if name not in masks:
            raise ValueError(f"active_units must name masks, got {name!r}.")


def check_digests(digests: Mapping[str, object], masks: Container[str]) -> None:
    """Raise an error unless each value is the digest of a mask's parameter.

    Raises:
        TypeError: If a value is no str.
        ValueError: If one is of no mask.
    """
    for name, digest in digests.items():
        if not isinstance(digest, str):
            raise TypeError(f"digests[{name!r}] must be a str, got {digest!r}.")
        if name not in masks:
            raise ValueError(f"digests must name masks, got {name!r}.")


def _in_both(facts: Mapping[str, _Fact], others: Mapping[str, _Fact]) -> dict[str, _Fact]:
    return {name: fact for name, fact in facts.items() if others.get(name) == fact}
