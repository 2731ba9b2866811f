"""Masks of one bit per weight, in memory, while walks mark them, and on disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from small_networks import IMAGE, lenet5

import phew
from phew.masks.packed import PackedMasks, pack
from phew.walks.options import Options
from phew.walks.sampler import Sampler


@pytest.mark.parametrize("batch_size", [1, 37, 1000])
def test_packed_visits_are_those_in_bytes(batch_size: int) -> None:
    graph = phew.capture(lenet5(), IMAGE)
    samples = []
    for packed in (False, True):
        sampler = Sampler(graph, Options(), num_threads=2, packed=packed, batch_size=batch_size)
        targets = [sampler.target(density) for density in (0.003, 0.02, 0.05)]
        samples.append(list(sampler.run(targets)))
    for in_bytes, in_bits in zip(*samples, strict=True):
        assert in_bytes.num_walks == in_bits.num_walks
        for name in graph.prunable:
            assert in_bytes.visited[name].equal(in_bits.visited[name]), name


def test_walks_go_on_from_any_batch() -> None:
    graph = phew.capture(lenet5(), IMAGE)
    saved = []
    sampler = Sampler(graph, Options(), num_threads=1, packed=True, batch_size=20)
    shares = [("fc1.weight",), ("fc3.weight",), ("conv1.weight", "conv2.weight", "fc2.weight")]
    targets = [
        sampler.target(density, share)
        for density, share in zip((0.03, 0.4, 0.3), shares, strict=True)
    ]
    expected = {
        sample.target: sample
        for sample in sampler.run(
            targets,
            after_batch=lambda num_walks, visited: saved.append((num_walks, visited.copy())),
        )
    }
    ends = sorted(sample.num_walks for sample in expected.values())
    # Some are saved before the first target is met, and some between the first and the last.
    assert sum(num_walks < ends[0] for num_walks, _ in saved) > 3
    assert sum(ends[0] <= num_walks < ends[-1] for num_walks, _ in saved) > 3
    for num_walks, visited in saved:
        sampler = Sampler(graph, Options(), num_threads=1, packed=True)
        sampler.go_on_from(num_walks, visited)
        for sample in sampler.run(targets):
            assert sample.num_walks == expected[sample.target].num_walks
            assert [*sample.visited] == [*sample.target.parameters]
            for name in sample.visited:
                assert sample.visited[name].equal(expected[sample.target].visited[name]), name


@pytest.mark.parametrize("shape", [(), (0,), (1,), (8,), (3, 5), (2, 3, 7, 1)])
def test_masks_are_packed_into_bits(shape: tuple[int, ...]) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    packed = PackedMasks.of({"a": mask})
    assert packed["a"].equal(mask)
    assert packed.num_kept("a") == mask.count_nonzero()
    bits = pack(mask)
    assert len(bits) == -(-mask.numel() // 8)
    for number, flag in enumerate(mask.flatten().tolist()):
        assert bool(bits[number // 8] >> number % 8 & 1) == flag


FILE = "masks.safetensors"


def test_a_mask_file_takes_a_bit_a_weight(tmp_path: Path) -> None:
    masks = phew.sample_masks(lenet5(), IMAGE, density=0.1)
    masks.save(tmp_path / FILE)
    size = (tmp_path / FILE).stat().st_size
    assert masks.num_weights / 8 < size < masks.num_weights / 8 + 2500


def test_packed_masks_are_pickled_once(tmp_path: Path) -> None:
    graph = phew.capture(lenet5(), IMAGE)
    sampler = Sampler(graph, Options(), num_threads=1, packed=True)
    (sample,) = sampler.run([sampler.target(0.1)])
    masks = phew.Masks(sample.visited)
    pickled = pickle.dumps(masks)
    assert len(pickled) < masks.num_weights / 8 + 5000
    assert pickle.loads(pickled) == masks


def test_a_loaded_mask_that_is_changed_stays_so(tmp_path: Path) -> None:
    sampled = phew.sample_masks(lenet5(), IMAGE, density=0.1)
    sampled.save(tmp_path / FILE)
    masks = phew.Masks.load(tmp_path / FILE)
    (name, *_) = masks
    masks[name][0] = False
    num_kept = int(masks[name].count_nonzero())
    assert num_kept < sampled[name].count_nonzero()
    assert not masks[name][0].any()
    assert masks.num_kept == sampled.num_kept - int(sampled[name][0].count_nonzero())
    assert masks.summary().rows[0].num_kept == num_kept
    assert masks != sampled
    masks.save(tmp_path / "changed.safetensors")
    for copy in (
        phew.Masks.load(tmp_path / "changed.safetensors"),
        pickle.loads(pickle.dumps(masks)),
    ):
        assert copy == masks
        assert not copy[name][0].any()


def test_analysis_and_copies_of_loaded_masks_leave_them_packed(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 2))
    phew.sample_masks(model, torch.zeros(1, 6), density=0.5).save(tmp_path / "masks")
    masks = phew.Masks.load(tmp_path / "masks")
    before = dict(masks.pack().packed)
    phew.analysis.analyze(model, torch.zeros(1, 6), masks=masks)
    assert phew.Masks(masks).num_kept == masks.num_kept
    masks.apply(model, unit_masks=True)
    # A mask that was unpacked for good would have been packed anew.
    assert all(masks.pack().packed[name] is bits for name, bits in before.items())
