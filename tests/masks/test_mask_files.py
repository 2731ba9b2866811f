"""Masks are saved whole or not at all, and files that are wrong are refused by their path."""

from __future__ import annotations

# mypy: disable-error-code="arg-type, operator"
import json
import pickle
import re
import stat
from pathlib import Path

import pytest
import safetensors.torch
import torch
from masked_networks import example_masks

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


def test_save_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "masks.safetensors"
    path.write_bytes(b"before")

    def fill_disk(arrays: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"before it is whole")
        raise safetensors.SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        example_masks().save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"before"


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
    message = rf"got '{re.escape(str(path))}', which is cut off or not safetensors \(.*\)\. Copy"
    with pytest.raises(ValueError, match=message):
        Masks.load(path)


def test_load_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    path.write_bytes(pickle.dumps(dict(example_masks())))
    with pytest.raises(ValueError, match="is cut off or not safetensors"):
        Masks.load(path)


def test_load_of_safetensors_that_are_not_masks(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(dict(example_masks()), path)
    message = r"path must be a file that Masks.save wrote, got '.*model.safetensors', which is anot"
    with pytest.raises(ValueError, match=message):
        Masks.load(path)


EMPTY_HEADER = {"format": 1, "masks": {}, "unit_masks": {}, "active_units": {}, "info": {}}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"format"', "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError: 'format'"),
        (json.dumps({**EMPTY_HEADER, "format": 2}), "ValueError: format must be 1, got 2"),
        (json.dumps({**EMPTY_HEADER, "masks": ["a"]}), "AttributeError"),
        (json.dumps({**EMPTY_HEADER, "masks": {"b": [2]}}), "KeyError: 'b'"),
        (json.dumps({**EMPTY_HEADER, "masks": {"a": [2]}}), r"packed\['a'\] must be 1 bytes for"),
        (json.dumps({**EMPTY_HEADER, "active_units": {"a": [1]}}), "ValueError: not enough values"),
        (json.dumps({**EMPTY_HEADER, "active_units": []}), "AttributeError"),
        ("[" * 100_000, "RecursionError"),
        (json.dumps({**EMPTY_HEADER, "info": {"seed": [1]}}), r"TypeError: info\['seed'\] must be"),
    ],
)
def test_load_of_a_header_that_is_wrong(header: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "masks.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2)}, path, metadata={"phew": header})
    message = rf"masks.safetensors', which cannot be read \(.*{message}.*\)\. Save the masks again"
    with pytest.raises(ValueError, match=message):
        Masks.load(path)


def test_load_of_a_file_with_a_name_in_both_kinds_of_masks(tmp_path: Path) -> None:
    masks = PackedMasks.of({"a": torch.ones(2, dtype=torch.bool)})
    write_mask_file(tmp_path / "masks", MaskFile(masks, masks, {}, {}))
    with pytest.raises(ValueError, match=r"/masks', which cannot be read .* got 'a' in both"):
        Masks.load(tmp_path / "masks")
