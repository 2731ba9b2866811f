"""The benchmark of the paper's claims: its data, its training, its results and its verdicts."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from science.claims import Claim, judge
from science.data import DataSet, load, shifted_and_flipped
from science.intervals import interval
from science.jobs import DENSE, Job, Structure, Training, WalkProduct, row_of
from science.results import Results
from science.scales import FULL, PAPER_DENSITIES, TINY, paper_scale
from science.training import Protocol, train
from support.suite import UnavailableError
from torch import nn

import phew
from phew.masks.rescaling import Rescale

ROOT = Path(__file__).parents[2]
ROW = Training("digits", "mlp", "PHEW", 0.1, seed=3, num_epochs=2)


def run_tiny(results: Path) -> str:
    command = [sys.executable, "-m", "benchmarks.science", "--tiny", "--results", str(results)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    judged = run_tiny(path)
    lines = path.read_text().splitlines()
    jobs = [*TINY.parallel_jobs(), *TINY.jobs_alone()]
    assert len(lines) == len(jobs)
    for claim in ("1. ", "2. ", "3. ", "3, convergence. ", "3, rescaled. ", "4. "):
        assert f"\n{claim}" in judged
    # Two rows are missing, and one was cut off while it was written.
    kept = lines[:-3]
    path.write_text("\n".join([*kept, lines[-3][:20]]))
    assert run_tiny(path) == judged
    resumed = path.read_text().splitlines()
    assert resumed[: len(kept)] == kept
    without_times = [
        sorted(line for line in some if '"kind": "cost"' not in line) for some in (lines, resumed)
    ]
    assert without_times[0] == without_times[1]


def test_a_seed_reproduces_a_row() -> None:
    torch.set_num_threads(1)
    assert ROW.run(Path()) == ROW.run(Path())
    other = Training(**{**row_of_fields(ROW), "seed": 4})
    assert other.run(Path()) != ROW.run(Path())


def row_of_fields(job: Training) -> dict[str, Any]:
    return {key: value for key, value in row_of(job).items() if key != "kind"}


def test_results_know_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = Results(path)
    jobs: list[Job] = [ROW, Structure("lenet5", "PHEW", 0.1, 0), WalkProduct("lenet5", 0)]
    assert results.missing(jobs) == jobs
    results.add(ROW, {"accuracy": 0.5, "loss": 1.0})
    results.add(jobs[1], {"width": 1.0})
    for again in (results, Results(path)):
        assert again.missing(jobs) == jobs[2:]
    assert json.loads(path.read_text().splitlines()[0])["accuracy"] == 0.5


def test_all_that_is_claimed_is_measured() -> None:
    assert len(PAPER_DENSITIES) == 16
    assert PAPER_DENSITIES[0] == 0.512
    trainings = [job for job in FULL.parallel_jobs() if isinstance(job, Training)]
    rescaled = [job for job in trainings if job.rescale == "auto"]
    assert len(set(trainings)) == len(trainings) == 10 * (4 * (1 + 16 * 8) + 2 * 8 * 8)
    assert len(rescaled) == 10 * 2 * 8 * 8
    assert {job.network for job in rescaled} == {"mlp"}
    (data, network), *_ = paper_scale("cifar10").trained
    assert (data, network) == ("cifar10", "resnet20")
    assert paper_scale("cifar10").num_epochs == 160


def test_training_learns_and_keeps_pruned_weights_at_zero() -> None:
    inputs = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0] > 0).long()
    data = DataSet(inputs, labels, inputs, labels)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    masks = phew.sample_masks(network, inputs[:1], density=0.5)
    masks.apply(network)
    outcome = train(network, masks, data, Protocol(num_epochs=20, batch_size=20), seed=0)
    assert len(outcome.losses) == 20
    assert outcome.losses[-1] < outcome.losses[0] / 2
    assert outcome.accuracy > 0.95


def test_the_learning_rate_falls_at_the_milestones(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []

    class Recording(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    monkeypatch.setattr(torch.optim, "SGD", Recording)
    inputs = torch.randn(8, 2)
    data = DataSet(inputs, torch.zeros(8).long(), inputs, torch.zeros(8).long())
    train(nn.Linear(2, 2), None, data, Protocol(num_epochs=8, batch_size=8), seed=0)
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 2 + [0.001] * 2)


def test_images_are_shifted_and_flipped() -> None:
    images = torch.arange(1.0, 1 + 64 * 36).view(64, 1, 6, 6)
    moved = shifted_and_flipped(images, torch.Generator().manual_seed(0), margin=1)
    windows = nn.functional.pad(images, [1] * 4).unfold(2, 6, 1).unfold(3, 6, 1)
    num_flipped = 0
    for image, choices in zip(moved, windows, strict=True):
        candidates = choices.reshape(-1, 6, 6)
        is_flipped = bool((candidates.flip(2) == image).all(dim=(1, 2)).any())
        assert is_flipped or (candidates == image).all(dim=(1, 2)).any()
        num_flipped += is_flipped
    assert 20 < num_flipped < 44


def write_mnist(folder: Path) -> None:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, number in (("train", 6), ("t10k", 4)):
        images = np.arange(number * 784).reshape(number, 28, 28) % 256
        header = struct.pack(">iiii", 2051, number, 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.astype(np.uint8).tobytes())
        labels = np.arange(number, dtype=np.uint8) % 2
        header = struct.pack(">ii", 2049, number)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def write_cifar10(folder: Path) -> None:
    root = folder / "cifar-10-batches-py"
    root.mkdir(parents=True)
    rows = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (root / name).write_bytes(pickle.dumps({"data": rows, "labels": [0, 9]}))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))


def write_cifar100(folder: Path) -> None:
    root = folder / "cifar-100-python"
    root.mkdir(parents=True)
    rows = np.arange(5 * 3072).reshape(5, 3072).astype(np.uint8)
    for name in ("train", "test"):
        (root / name).write_bytes(pickle.dumps({"data": rows, "fine_labels": [0, 9, 99, 3, 4]}))
    (root / "meta").write_bytes(pickle.dumps({"fine_label_names": [""] * 100}))


def write_tiny_imagenet(folder: Path) -> None:
    root = folder / "tiny-imagenet-200"
    image = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))
    grey = image.convert("L")  # the data set has some
    for name in ("n01", "n02"):
        (root / "train" / name / "images").mkdir(parents=True)
        image.save(root / "train" / name / "images" / f"{name}_0.JPEG")
        grey.save(root / "train" / name / "images" / f"{name}_1.JPEG")
    (root / "val" / "images").mkdir(parents=True)
    image.save(root / "val" / "images" / "val_0.JPEG")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t62\t62\n")
    (root / "wnids.txt").write_text("n01\nn02\n")


@pytest.mark.parametrize(
    ("name", "write", "shape", "labels"),
    [
        ("mnist", write_mnist, (6, 1, 28, 28), [0, 1, 0, 1]),
        ("cifar10", write_cifar10, (10, 3, 32, 32), [0, 9]),
        ("cifar100", write_cifar100, (5, 3, 32, 32), [0, 9, 99, 3, 4]),
        ("tiny_imagenet", write_tiny_imagenet, (4, 3, 64, 64), [1]),
    ],
)
def test_data_sets_are_read_from_disk(
    name: str,
    write: Any,
    shape: tuple[int, ...],
    labels: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import zoo as zoo  # mends torchvision's operators
    from torchvision.datasets import cifar

    # The files are made up: their checksums are not those of the data set.
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)
    write(tmp_path)
    data = load(name, tmp_path)
    assert data.train_inputs.shape == shape
    assert data.test_labels.tolist() == labels
    assert data.is_augmented == (name != "mnist")
    inputs, _ = data.training_batch(torch.arange(2), torch.Generator().manual_seed(0))
    assert inputs.shape == (2, *shape[1:])
    everything = data.normalised(data.train_inputs).transpose(0, 1).flatten(1).double()
    assert everything.mean(dim=1).abs().max() < 1e-5
    assert (everything.std(dim=1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100", "tiny_imagenet"])
def test_data_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"{name} is not in '{tmp_path}'"):
        load(name, tmp_path)


@pytest.mark.slow
def test_a_data_set_that_is_missing_ends_the_command_with_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.science", "--data", "cifar10"]
    command += ["--folder", str(tmp_path), "--results", str(tmp_path / "results.jsonl")]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("science: cifar10 is not in ")


def test_intervals_are_students() -> None:
    # t = 4.3027 for two degrees of freedom, deviation 1.
    assert interval([1.0, 2.0, 3.0]).margin == pytest.approx(4.30265 / 3**0.5, rel=1e-5)
    assert interval([1.0, 2.0, 3.0]).mean == 2
    assert interval([0.9]).percent() == "90.0"
    assert not interval([0.9]).is_above_zero


def training_rows(accuracies: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [
        row_of(Training("digits", "mlp", method, 0.1, seed, 1))
        | {"accuracy": accuracy, "loss": 1 - accuracy}
        for method, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        ([0.80, 0.79, 0.81], "holds"),
        ([0.96, 0.97, 0.95], "does not hold"),
        ([0.80, 0.99, 0.92], "undecided"),
    ],
)
def test_accuracies_are_compared_seed_by_seed(theirs: list[float], verdict: str) -> None:
    accuracies = {"PHEW": [0.90, 0.91, 0.89], "SynFlow": theirs, DENSE: [1.0, 1.0, 1.0]}
    claims = judge(training_rows(accuracies))
    assert [claim.verdict for claim in claims] == [verdict, verdict]
    assert claims[0].statement == "PHEW's accuracy is above SynFlow's"
    assert claims[0].figures[0].startswith("digits, mlp: by ")


def test_rescaled_networks_are_judged_apart_and_old_rows_were_not_rescaled(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    jobs: list[Job] = []
    rescales: list[tuple[Rescale, float]] = [("none", 0.02), ("auto", -0.02)]
    for rescale, rise in rescales:
        for method, accuracy in (("PHEW", 0.8), ("SynFlow", 0.8 + rise)):
            for seed in range(2):
                job = Training("digits", "mlp", method, 0.1, seed, 1, rescale)
                jobs.append(job)
                results.add(job, {"accuracy": accuracy + 0.01 * seed, "loss": 0.5})
    # Rows of earlier versions say nothing about it.
    text = (tmp_path / "results.jsonl").read_text().replace(', "rescale": "none"', "")
    (tmp_path / "results.jsonl").write_text(text)
    again = Results(tmp_path / "results.jsonl")
    assert again.missing(jobs) == []
    found = verdicts(judge(again.rows_of(jobs)))
    assert found["PHEW's accuracy is above SynFlow's"] == "does not hold"
    assert found["With rescaled weights, PHEW's accuracy is above SynFlow's"] == "holds"


def structure_rows(**of_phew: Any) -> list[dict[str, Any]]:
    whole = {"effective_density": 1.0, "log10_num_paths": 3.0, "dead_layers": 0}
    rows = []
    for method, width, trace in (
        ("PHEW", 1.0, 0.5),
        ("SynFlow", 0.95, 0.6),
        ("SynFlow-L2", 0.5, 0.6),
        ("random", 1.0, 0.001),
        ("uniform walks", 1.0, 0.3),
    ):
        values = {"width": width, "trace": trace} | whole | (of_phew if method == "PHEW" else {})
        rows.append(row_of(Structure("lenet5", method, 0.1, 0)) | values)
    return rows


def verdicts(claims: list[Claim]) -> dict[str, str]:
    return {claim.statement: claim.verdict for claim in claims}


def test_structures_are_judged() -> None:
    found = verdicts(judge(structure_rows()))
    assert list(found.values()) == [
        "undecided",  # wider than SynFlow, but not by a tenth
        "holds",
        "holds",
        "undecided",  # above uniform walks, but not twice
        "does not hold",
        "holds",
    ]
    for broken in ({"effective_density": 0.99}, {"log10_num_paths": None}):
        assert list(verdicts(judge(structure_rows(**broken))).values())[-1] == "does not hold"


def test_a_seed_that_lacks_densities_does_not_count() -> None:
    rows = training_rows({"PHEW": [0.9, 0.91, 0.89], "SynFlow": [0.8, 0.79, 0.81]})
    rows += [
        row_of(Training("digits", "mlp", method, 0.2, seed, 1)) | {"accuracy": 0.9, "loss": 0.1}
        for method in ("PHEW", "SynFlow")
        for seed in (0, 1)
    ]
    (figure,) = judge(rows)[0].figures
    # Seeds 0 and 1 have the differences 0.05 and 0.06.
    assert figure.startswith("digits, mlp: by +0.0550 ± 0.0635; ")


def test_a_training_that_diverged_decides_nothing() -> None:
    rows = training_rows({"PHEW": [0.9, 0.91, float("nan")], "SynFlow": [0.8, 0.79, 0.81]})
    assert {claim.verdict for claim in judge(rows)} == {"undecided"}


def test_costs_are_judged() -> None:
    def rows(phew_seconds: float) -> list[dict[str, Any]]:
        return [
            {"kind": "cost", "network": "vgg19_bn", "method": "PHEW", "density": 0.1}
            | {"seconds": phew_seconds, "peak_memory": 1},
            {"kind": "cost", "network": "vgg19_bn", "method": "SynFlow", "density": 0.1}
            | {"seconds": 60.0, "peak_memory": 1},
        ]

    assert [claim.verdict for claim in judge(rows(0.1))] == ["holds"]
    assert [claim.verdict for claim in judge(rows(2.0))] == ["does not hold"]


def test_a_walk_carries_twice_the_weight_of_a_uniform_one_per_layer() -> None:
    # Only the last of the VGG's layers has few weights per unit.
    assert WalkProduct("vgg11", seed=1).run(Path())["per_layer"] == pytest.approx(2, abs=0.03)
