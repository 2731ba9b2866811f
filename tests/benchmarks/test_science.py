"""The benchmark of the paper's claims: what it trains and analyses, and its file of results."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from science.data import DataSet, load
from science.factors import FACTORS
from science.jobs import Job, Structure, Training, WalkProduct, row_of
from science.networks import SMALL_NETWORKS, num_prunable, perceptron
from science.pruning import shuffled
from science.results import Results
from science.scales import FULL, PAPER_DENSITIES, TINY, paper_scale
from science.speed import Speed, width_of_small
from science.training import Outcome, Protocol, train
from torch import nn

import phew

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
    jobs = [*TINY.parallel_jobs(), *TINY.jobs_alone()]
    assert len(Results(path).rows) == len(jobs)
    lines = path.read_text().splitlines()
    assert len(lines) < len(jobs)  # a line for each case
    for claim in ("1. ", "2. ", "3. ", "3, convergence. ", "3, rescaled. ", "4. "):
        assert f"\n{claim}" in judged
    # Two rows are missing, and one was cut off while it was written.
    kept = lines[:-3]
    path.write_text("\n".join([*kept, lines[-3][:20]]))
    assert run_tiny(path) == judged
    resumed = path.read_text().splitlines()
    assert resumed[: len(kept)] == kept
    without_times = [
        sorted(line for line in some if '"seconds":' not in line) for some in (lines, resumed)
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
    assert json.loads(path.read_text().splitlines()[0])["accuracy"] == [0.5]


def test_a_case_is_one_line_with_a_value_for_each_seed(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results = Results(path)
    for seed, accuracy in ((1, 0.51239), (0, 0.5)):
        results.add(replace(ROW, seed=seed), {"accuracy": accuracy, "loss": 1.0})
    results.add(replace(ROW, rescale="auto"), {"accuracy": 0.75, "loss": 1.0})
    rows = results.rows_of([replace(ROW, seed=1)])
    results.merge()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["accuracy"] for line in lines] == [[0.5, 0.51239], [0.75]]
    assert lines[0]["seed"] == [0, 1]
    assert "rescale" not in lines[0]
    assert lines[1]["rescale"] == "auto"
    assert Results(path).rows_of([replace(ROW, seed=1)]) == rows


def test_all_that_is_claimed_is_measured() -> None:
    assert len(PAPER_DENSITIES) == 16
    assert PAPER_DENSITIES[0] == 0.512
    trainings = [job for job in FULL.parallel_jobs() if isinstance(job, Training)]
    assert len(set(trainings)) == len(trainings)
    whole = [job for job in trainings if job.network in SMALL_NETWORKS and job.ablation == "none"]
    rescaled = [job for job in whole if job.rescale == "auto"]
    assert len(whole) == 10 * (4 * (1 + 16 * 8) + 2 * 8 * 8)
    assert len(rescaled) == 10 * 2 * 8 * 8
    assert {job.network for job in rescaled} == {"mlp"}
    (sweep,) = paper_scale("cifar10").sweeps
    assert sweep.cases == (("cifar10", "resnet20"), ("cifar10", "vgg19_bn"))
    assert sweep.num_epochs == 160


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


def test_shuffled_masks_keep_as_much_of_each_layer() -> None:
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    masks = phew.sample_masks(model, torch.zeros(1, 20), density=0.2)
    others = shuffled(masks, seed=1)
    assert others != masks
    for name, mask in masks.items():
        assert others[name].count_nonzero() == mask.count_nonzero()
    assert shuffled(masks, seed=1) == others
    others.apply(model, rescale="auto")


def test_networks_of_several_widths_keep_as_many_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = []

    def recorded(network: nn.Module, masks: phew.Masks, *_: Any) -> Outcome:
        numbers.append(masks.num_kept)
        return Outcome(0.5, [1.0])

    monkeypatch.setattr("science.jobs.train", recorded)
    factor = FACTORS[0]
    for network, rescale in factor.levels.values():
        Training(
            *("digits", network, "SynFlow", 0.1, 0, 1),
            rescale=rescale,
            as_many_as=factor.as_many_as_of(network),
        ).run(Path())
    assert len(numbers) == 4
    assert max(numbers) - min(numbers) <= 1


def test_a_small_network_has_at_most_as_many_weights_as_masks_keep() -> None:
    data = load("digits", Path())
    job = Speed("digits", "small", 64, 0.2, 0, accuracy=0.9, num_epochs=1)
    width = width_of_small(data, job)
    numbers = [
        num_prunable(perceptron(data.example, 10, depth=3, width=units))
        for units in (width, width + 1, 64)
    ]
    assert numbers[0] <= 0.2 * numbers[2] < numbers[1]


@pytest.mark.slow
def test_a_training_is_timed_until_its_accuracy() -> None:
    found = Speed("digits", "sparse", 64, 0.2, 0, accuracy=0.9, num_epochs=20).run(Path())
    assert 1 < found["epochs"] < 20
    assert found["seconds"] > 0
    assert found["processor_seconds"] > 0
    failed = Speed("digits", "held", 64, 0.2, 0, accuracy=1.1, num_epochs=2).run(Path())
    assert failed["epochs"] is None


def test_weights_drawn_anew_are_trained_under_the_masks() -> None:
    accuracies = [
        replace(ROW, ablation=ablation).run(Path()) for ablation in ("none", "shuffled", "redrawn")
    ]
    assert len({row["loss"] for row in accuracies}) == 3


@pytest.mark.slow
def test_a_data_set_that_is_missing_ends_the_command_with_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.science", "--data", "cifar10"]
    command += ["--folder", str(tmp_path), "--results", str(tmp_path / "results.jsonl")]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("science: cifar10 is not in ")


def test_a_walk_carries_twice_the_weight_of_a_uniform_one_per_layer() -> None:
    # Only the last of the VGG's layers has few weights per unit.
    assert WalkProduct("vgg11", seed=1).run(Path())["per_layer"] == pytest.approx(2, abs=0.03)
