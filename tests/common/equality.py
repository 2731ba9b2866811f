"""Checks that masks are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from phew import Masks
from phew.distributed.sharding import is_sharded


def assert_same_elements(
    found: Mapping[str, torch.Tensor], expected: Mapping[str, Any], message: str = ""
) -> None:
    """Check that tensors have the names and the elements of others, wherever these are."""
    assert found.keys() == expected.keys(), message
    for name, mask in found.items():
        other = torch.as_tensor(expected[name]).cpu()
        np.testing.assert_array_equal(mask.cpu(), other, err_msg=f"{message} {name}")


def assert_same_masks(found: Masks, expected: Masks, *, were_sharded: bool = False) -> None:
    """Check that masks keep the same weights and units, and tell the same of themselves.

    Args:
        found: The masks; those of sharded weights have no digests of these.
        expected: Masks that were made of whole weights.
        were_sharded: Whether all of the weights were sharded, as a file of masks does not show.
    """
    digests = {
        name: digest
        for name, digest in expected.digests.items()
        if not were_sharded and not is_sharded(found[name])
    }
    assert found.digests == digests
    without = set() if digests == expected.digests else {"weights"}
    assert found.info == {key: expected.info[key] for key in expected.info.keys() - without}
    assert found.active_units == expected.active_units
    assert found.num_kept == expected.num_kept
    assert str(found.summary()) == str(expected.summary())
    # This compares masks on any device, and gathers those that are sharded.
    assert found == expected
