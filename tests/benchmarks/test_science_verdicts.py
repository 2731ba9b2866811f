"""The verdicts on the paper's claims, and the document of their tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from science.claims import Claim, judge
from science.document import write
from science.factors import FACTORS, accuracies_of, change_of, gaps_of
from science.intervals import interval
from science.jobs import DENSE, Cost, Job, Structure, Training, row_of
from science.networks import PAPER_NETWORKS
from science.results import Results
from science.scales import paper_scale
from science.speed import Form, Speed

from phew.masks.rescaling import Rescale

ROW = Training("digits", "mlp", "PHEW", 0.1, seed=3, num_epochs=2)


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


@pytest.mark.parametrize("data", PAPER_NETWORKS)
def test_each_network_of_the_paper_is_judged(data: str) -> None:
    jobs = [job for job in paper_scale(data).parallel_jobs() if isinstance(job, Training)]
    rows = [row_of(job) | {"accuracy": 0.5 + 0.001 * job.seed, "loss": 0.5} for job in jobs]
    claims = judge(rows)
    assert len(claims) == 2 * 7
    for claim in claims:
        assert len(claim.figures) == len(PAPER_NETWORKS[data])


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


def test_rescaled_networks_are_judged_apart(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    jobs: list[Job] = []
    rescales: list[tuple[Rescale, float]] = [("none", 0.02), ("auto", -0.02)]
    for rescale, rise in rescales:
        for method, accuracy in (("PHEW", 0.8), ("SynFlow", 0.8 + rise)):
            for seed in range(2):
                job = Training("digits", "mlp", method, 0.1, seed, 1, rescale)
                jobs.append(job)
                results.add(job, {"accuracy": accuracy + 0.01 * seed, "loss": 0.5})
    again = Results(tmp_path / "results.jsonl")
    assert again.missing(jobs) == []
    found = verdicts(judge(again.rows_of(jobs)))
    assert found["PHEW's accuracy is above SynFlow's"] == "does not hold"
    assert found["With rescaled weights, PHEW's accuracy is above SynFlow's"] == "holds"


def structure_rows(**of_phew: Any) -> list[dict[str, Any]]:
    whole = {"effective_density": 1.0, "log10_num_paths": 3.0, "dead_layers": 0, "kept_flops": 0.2}
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
    # One weight of ten thousand is dead.
    for broken in ({"effective_density": 0.9999}, {"log10_num_paths": None}):
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


def factor_rows(*levels: str) -> list[dict[str, Any]]:
    """PHEW is 5 points above SynFlow in the narrowest network, and 2 in all others."""
    factor = FACTORS[0]
    cases = [(*factor.levels[level], level) for level in levels]
    return [
        row_of(
            Training(
                *("digits", network, method, 0.1, seed, 1, rescale),
                as_many_as=factor.as_many_as_of(network),
            )
        )
        | {"accuracy": 0.8 + 0.01 * seed - gap, "loss": 0.5}
        for network, rescale, level in cases
        for method, gap in (("PHEW", 0.0), ("SynFlow", 0.05 if level == "64" else 0.02))
        for seed in range(3)
    ]


def test_gaps_are_taken_seed_by_seed_at_each_level() -> None:
    # Rows stand in any order.
    accuracies = accuracies_of(FACTORS[0], factor_rows("512", "128", "64", "256"))
    gaps = gaps_of(accuracies, "digits", 0.1, "SynFlow")
    assert {level: list(by_seed.values()) for level, by_seed in gaps.items()} == {
        "64": pytest.approx([0.05] * 3),
        "128": pytest.approx([0.02] * 3),
        "256": pytest.approx([0.02] * 3),
        "512": pytest.approx([0.02] * 3),
    }
    assert list(gaps) == ["64", "128", "256", "512"]
    assert change_of(gaps.values()).mean == pytest.approx(-0.03)
    assert gaps_of(accuracies, "digits", 0.1, "SynFlow-L2") == {}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Any]], str]:
    (tmp_path / "figures").mkdir()
    monkeypatch.setattr("support.plots.DOCS", tmp_path)
    monkeypatch.setattr("science.document.DOCUMENT", tmp_path / "science_tables.md")

    def write_rows(rows: list[Any]) -> str:
        write(rows, judge(rows))
        return (tmp_path / "science_tables.md").read_text()

    return write_rows


def test_a_document_has_the_sections_that_there_are_rows_for(
    written: Callable[[list[Any]], str], tmp_path: Path
) -> None:
    text = written(training_rows({"PHEW": [0.9, 0.91], "SynFlow": [0.8, 0.79]}))
    assert re.findall("^## (.*)", text, re.MULTILINE) == ["Verdicts", "Accuracy"]
    assert "| 10.0%   | **90.5 ± 6.4** | 79.5 ± 6.4 |" in text
    assert (tmp_path / "figures" / "science_digits_mlp.svg").exists()


def speed_rows(form: Form, *epochs_by_seed: int | None) -> list[dict[str, Any]]:
    return [
        row_of(Speed("digits", form, 64, 0.1, seed, 0.9, 20))
        | {"epochs": epochs, "seconds": 1.0 + seed, "processor_seconds": 2.0}
        for seed, epochs in enumerate(epochs_by_seed)
    ]


def test_a_document_has_all_sections(written: Callable[[list[Any]], str], tmp_path: Path) -> None:
    shuffled_row = row_of(replace(ROW, ablation="shuffled")) | {"accuracy": 0.5, "loss": 1.0}
    rows = [
        *(row_of(ROW) | {"accuracy": 0.75, "loss": 1.0}, shuffled_row),
        *factor_rows("64", "128", "256", "512"),
        *structure_rows(),
        row_of(Cost("vgg19_bn", "PHEW", 0.1)) | {"seconds": 0.1, "peak_memory": 2**20},
        *speed_rows("sparse", 3, 5),
        *speed_rows("held", 3, None),
    ]
    text = written(rows)
    for line in (
        "| digits | 10%     | PHEW less SynFlow | 5.0 ± 0.0 | 2.0 ± 0.0 | 2.0 ± 0.0 | 2.0 ± 0.0 |",
        "| digits | mlp     | 10.0%   | shuffled in each layer | 50.0 |",
        "| digits | 3 x 64  | sparse | 10% |",
        "4 (3 to 5) | 1.5 (1 to 2) |",
        "1 of 2 failed",
    ):
        assert re.sub(" +", " ", line) in re.sub(" +", " ", text)
    for name in ("width", "balance"):
        assert (tmp_path / "figures" / f"science_{name}.svg").exists()
