"""Masks are saved whole or not at all, and files that are wrong are refused by their path."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, operator"
import errno
import json
import math
import os
import pickle
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from file_sizes import files_of_at_most
from masked_networks import example_masks

import phew
from phew.masks.facts import Facts
from phew.masks.mask_file import MaskFile, write_mask_file
from phew.masks.masks import Masks
from phew.masks.packed import PackedMasks


def test_save_and_load_give_the_same_masks_back(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    masks = example_masks()
    masks.save(path)
    loaded = Masks.load(str(path))
    assert loaded == masks
    assert list(loaded) == list(masks)
    assert loaded.active_units == masks.active_units
    assert loaded.info == masks.info
    assert str(loaded.summary()) == str(masks.summary())


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(torch.eye(3, 5, dtype=torch.bool).t(), id="transposed"),
        pytest.param(torch.tensor([True, False]).expand(3, 2), id="expanded"),
        pytest.param(torch.zeros(0, 4, dtype=torch.bool), id="zero-size"),
    ],
)
def test_save_takes_any_memory_layout(mask: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    masks = Masks({"a": mask, "tied": mask})
    masks.save(path)
    assert Masks.load(path) == masks


def test_save_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    path.write_bytes(b"before")
    example_masks().save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert Masks.load(path) == example_masks()
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_save_that_fails_leaves_the_old_file_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    path.write_bytes(b"before")
    message = re.escape(f"] File too large: '{path}'") + "$"
    with files_of_at_most(200), pytest.raises(OSError, match=message) as caught:
        example_masks().save(path)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"before"


def test_save_to_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fill_disk)
    with pytest.raises(
        OSError, match=r"No space left on device: '.*masks\.safetensors'$"
    ) as caught:
        example_masks().save(tmp_path / "masks.safetensors")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_special_files_are_neither_read_nor_replaced(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    os.mkfifo(path)
    message = rf"{re.escape(str(path))}' must be a regular file, got a FIFO"
    with pytest.raises(ValueError, match=message):
        Masks.load(path)
    with pytest.raises(ValueError, match=message):
        example_masks().save(path)
    assert path.is_fifo()
    (tmp_path / "link").symlink_to(os.devnull)
    for special in (os.devnull, tmp_path / "link"):
        with pytest.raises(ValueError, match=rf"{special}' must be a regular file"):
            Masks.load(special)
        with pytest.raises(ValueError, match=rf"{special}' must be a regular file"):
            example_masks().save(special)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_names_that_no_file_has_are_named(name: str, tmp_path: Path) -> None:
    for call in (Masks.load, example_masks().save):
        with pytest.raises(ValueError, match=r"path must be a name that a file can have, got '/"):
            call(tmp_path / name)


def test_any_name_that_a_file_can_have_is_saved(tmp_path: Path) -> None:
    longest = tmp_path / ("m" * 255)
    example_masks().save(longest)
    assert Masks.load(longest) == example_masks()
    with pytest.raises(OSError, match=r"File name too long: '.*/m+'$") as caught:
        example_masks().save(tmp_path / ("m" * 256))
    assert caught.value.errno == errno.ENAMETOOLONG
    assert list(tmp_path.iterdir()) == [longest]


def test_errors_of_mapping_a_file_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_maps(path: Path, framework: str) -> None:
        raise OSError("Cannot allocate memory (os error 12)")

    path = tmp_path / "masks.safetensors"
    example_masks().save(path)
    monkeypatch.setattr(safetensors, "safe_open", no_maps)
    with pytest.raises(OSError, match=rf"Cannot allocate memory \(os error 12\): '{path}'$"):
        Masks.load(path)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("missing/masks.safetensors", FileNotFoundError),
        ("file/masks.safetensors", NotADirectoryError),
        ("folder", IsADirectoryError),
    ],
)
def test_save_to_where_no_file_can_be_names_the_path(
    name: str, error: type[OSError], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(error, match=re.escape(f": '{tmp_path / name}'") + "$"):
        example_masks().save(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2


def test_load_of_a_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=re.escape(f": '{tmp_path}'") + "$"):
        Masks.load(tmp_path)


def test_load_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        Masks.load(tmp_path / "missing.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.005, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_load_of_a_file_that_was_cut_off(share: float, tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    example_masks().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    message = (
        rf"'{re.escape(str(path))}' must be a whole safetensors file, got .* cut off .*\. Copy"
    )
    with pytest.raises(ValueError, match=message):
        Masks.load(path)


def test_load_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    path.write_bytes(pickle.dumps(dict(example_masks())))
    with pytest.raises(ValueError, match="got one that is cut off or damaged"):
        Masks.load(path)


def test_load_of_safetensors_that_are_not_masks(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(dict(example_masks()), path)
    message = r"path must be a file that Masks.save wrote, got '.*model.safetensors', which is anot"
    with pytest.raises(ValueError, match=message):
        Masks.load(path)


def test_load_of_a_sparse_network(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    phew.to_sparse(model, {"weight": torch.eye(2, 3, dtype=torch.bool)})
    phew.save_sparse(model, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"net.safetensors', which is another kind of safetensors"):
        Masks.load(tmp_path / "net.safetensors")


EMPTY_HEADER = {"format": 1, "masks": {}, "unit_masks": {}, "active_units": {}, "info": {}}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"format"', "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError: 'format'"),
        ({"format": 3}, "ValueError: format must be 1 or 2, got 3"),
        ({"format": 2}, "KeyError: 'phew_sha256'"),
        ({"masks": ["a"]}, "AttributeError"),
        ({"masks": {"b": [2]}}, "KeyError: 'b'"),
        ({"masks": {"a": [9]}}, r"packed\['a'\] must be 2 bytes for"),
        ({"active_units": []}, "AttributeError"),
        ("[" * 100_000, "RecursionError"),
        ({"info": {"seed": [1]}}, r"TypeError: info\['seed'\] must be"),
    ],
)
def test_load_of_a_header_that_is_wrong(
    header: str | dict[str, Any], message: str, tmp_path: Path
) -> None:
    check_refused(header, message, tmp_path)


@pytest.mark.parametrize("kind", ["masks", "unit_masks"])
@pytest.mark.parametrize(
    "shape",
    [
        [-2, -4],
        [-8],
        [2**62, 2**62, 0],
        [0, 2**63],
        [8.0],
        [True, 8],
        ["8"],
        [None],
        "8",
        8,
        None,
        {"8": 8},
    ],
    ids=repr,
)
def test_load_of_shapes_that_no_tensor_has(shape: Any, kind: str, tmp_path: Path) -> None:
    check_refused({kind: {"a": shape}}, "ValueError: 'a' must have the shape of a tensor", tmp_path)


@pytest.mark.parametrize("kind", ["masks", "unit_masks"])
@pytest.mark.parametrize("shape", [[7], [1], [3, 2], []], ids=repr)
def test_load_of_bits_behind_the_last_element(shape: list[int], kind: str, tmp_path: Path) -> None:
    message = rf"packed\['a'\] must end with zeros behind {math.prod(shape)} bits, got 0b11111111"
    check_refused({kind: {"a": shape}}, message, tmp_path)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (["x", "y"], "TypeError.* must be two int"),
        ([1], "TypeError.* must be two int"),
        ([1, 2, 3], "TypeError.* must be two int"),
        ([1.0, 2.0], "TypeError.* must be two int"),
        ([True, 8], "TypeError.* must be two int"),
        ("12", "TypeError.* must be two int"),
        (None, "TypeError.* must be two int"),
        ([9, 8], "ValueError.* must be at most all units, got 9 of 8"),
        ([-1, 8], "ValueError.* must be at most all units, got -1 of 8"),
    ],
)
def test_load_of_active_units_that_are_none(counts: Any, message: str, tmp_path: Path) -> None:
    check_refused({"masks": {"a": [8]}, "active_units": {"a": counts}}, message, tmp_path)
    if not isinstance(counts, list):
        return
    with pytest.raises((TypeError, ValueError), match=r"^active_units\['a'\] must be"):
        Masks({"a": torch.ones(8, dtype=torch.bool)}, active_units={"a": tuple(counts)})


def test_active_units_are_of_masks(tmp_path: Path) -> None:
    check_refused(
        {"active_units": {"b": [1, 2]}}, "active_units must name masks, got 'b'", tmp_path
    )


def check_refused(header: str | dict[str, Any], message: str, folder: Path) -> None:
    """Check that a mask of 8 bits, all of them set, is not loaded with another header."""
    path = folder / "masks.safetensors"
    text = header if isinstance(header, str) else json.dumps(EMPTY_HEADER | header)
    tensors = {"a": torch.tensor([255], dtype=torch.uint8)}
    safetensors.torch.save_file(tensors, path, metadata={"phew": text})
    message = rf"masks.safetensors', which cannot be read \(.*{message}.*\)\. Copy or save the"
    with pytest.raises(ValueError, match=message):
        Masks.load(path)


def test_files_without_a_checksum_are_read(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    header = EMPTY_HEADER | {"masks": {"a": [2, 5]}, "active_units": {"a": [1, 2]}}
    tensors = {"a": torch.tensor([105, 2], dtype=torch.uint8)}
    safetensors.torch.save_file(tensors, path, metadata={"phew": json.dumps(header)})
    masks = Masks.load(path)
    assert masks["a"].int().tolist() == [[1, 0, 0, 1, 0], [1, 1, 0, 0, 1]]
    assert masks.active_units == {"a": (1, 2)}


def test_a_bit_that_flips_is_no_other_mask(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    Masks(
        {"a": torch.eye(3, 5, dtype=torch.bool)},
        unit_masks={"b": torch.tensor([True, False, True])},
        active_units={"a": (2, 3)},
        info={"num_walks": 12},
    ).save(path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    assert len(content) == end + 3
    of_tensors = range(8 * end, 8 * len(content))
    one_of_each_byte = range(0, 8 * end, 9)
    for number in (*of_tensors, *one_of_each_byte):
        changed = bytearray(content)
        changed[number // 8] ^= 1 << number % 8
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            Masks.load(path)


def test_masks_that_change_places_are_no_other_masks(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    Masks({"a": torch.tensor([True, False]), "b": torch.tensor([False, True])}).save(path)
    content = path.read_bytes()
    entries = [b'"a": {"dtype"', b'"b": {"dtype"', b'"?": {"dtype"']
    for old, new in (entries[0::2], entries[1::-1], entries[2:0:-1]):
        assert old in content
        content = content.replace(old, new)
    path.write_bytes(content)
    assert safetensors.torch.load_file(path).keys() == {"a", "b"}
    with pytest.raises(ValueError, match="its bytes are not those that were saved"):
        Masks.load(path)


def test_load_of_a_file_with_a_name_in_both_kinds_of_masks(tmp_path: Path) -> None:
    masks = PackedMasks.of({"a": torch.ones(2, dtype=torch.bool)})
    write_mask_file(tmp_path / "masks", MaskFile(masks, masks, Facts({}, {}, {}, {})))
    with pytest.raises(ValueError, match=r"/masks', which cannot be read .* got 'a' in both"):
        Masks.load(tmp_path / "masks")
