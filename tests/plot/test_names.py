"""Short names tell layers apart."""

from __future__ import annotations

import pytest

from phew.plot.names import short_names

LONG = "encoder.layers.{}.attention.self.query.weight"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ([], []),
        (["conv1.weight", "fc.weight"], ["conv1", "fc"]),
        # Without its last part the first name would be the second.
        (["scale.weight", "scale"], ["scale.weight", "scale"]),
        ([LONG.format(3)], ["encoder....elf.query"]),
        # The numbers in the middle are all that differs.
        (
            [LONG.format(3), LONG.format(4)],
            ["encoder.layers.3...ntion.self.query", "encoder.layers.4...ntion.self.query"],
        ),
    ],
)
def test_names_are_shortened_in_the_middle_while_they_differ(
    parameters: list[str], expected: list[str]
) -> None:
    assert short_names(parameters) == expected
