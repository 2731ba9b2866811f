"""Comparisons of methods, against `analyze` of each method's masks."""

from __future__ import annotations

# mypy: disable-error-code="no-any-return"
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from small_networks import IMAGE, lenet5
from torch import nn

import phew
from phew import analysis, baselines
from phew.analysis.paths import Scaled, squared_paths

METHODS: dict[str, Callable[..., phew.Masks]] = {
    "PHEW": partial(phew.sample_masks, seed=3),
    "magnitude": baselines.magnitude,
    "random by layer": partial(baselines.random, scope="layer"),
}
DENSITIES = [0.1, 0.01]


@pytest.fixture(scope="module")
def lenet() -> tuple[nn.Module, torch.Tensor]:
    return lenet5(), IMAGE


@pytest.fixture(scope="module")
def comparison(lenet: tuple[nn.Module, torch.Tensor]) -> analysis.Comparison:
    return analysis.compare(*lenet, methods=METHODS, densities=DENSITIES)


def test_each_row_is_the_analysis_of_a_methods_masks(
    lenet: tuple[nn.Module, torch.Tensor], comparison: analysis.Comparison
) -> None:
    rows = iter(comparison.rows)
    for density in DENSITIES:
        for label, method in METHODS.items():
            row = next(rows)
            masks = method(*lenet, density=density)
            assert (row.method, row.density) == (label, density)
            assert row.analysis == analysis.analyze(*lenet, masks=masks)
            assert row.seconds > 0
    assert next(rows, None) is None
    assert comparison.methods == list(METHODS)
    assert comparison.densities == DENSITIES


def test_the_dictionary_is_json_with_every_layer(comparison: analysis.Comparison) -> None:
    written = json.loads(json.dumps(comparison.as_dict()))
    assert [row["method"] for row in written["rows"]] == [row.method for row in comparison.rows]
    for row, expected in zip(written["rows"], comparison.rows, strict=True):
        assert row["density"] == expected.density
        assert row["seconds"] == expected.seconds
        assert row["analysis"] == expected.analysis.as_dict()
        assert len(row["analysis"]["layers"]) == 5


def test_the_table_has_a_line_for_each_row(comparison: analysis.Comparison) -> None:
    header, _, *lines = str(comparison).splitlines()
    assert header.split("  ")[0] == "method"
    assert [line.split("  ")[0] for line in lines] == 2 * list(METHODS)
    for line, row in zip(lines, comparison.rows, strict=True):
        total, paths = row.analysis.total, row.analysis.log10_num_paths
        assert line.removeprefix(row.method).split() == [
            f"{round(100 * row.density)}%",
            f"{total.effective_density:.2%}",
            f"{row.analysis.hidden_width:.2%}",
            f"{total.effective_width:.2%}",
            f"{row.analysis.path_kernel_trace:.3g}",
            "none" if paths is None else f"{paths:.1f}",
            f"{total.kept_flops:.2%}",
            f"{len(row.analysis.dead_layers)}",
            f"{row.seconds:.2f}",
        ]


def test_a_network_that_is_cut_has_no_paths_in_the_table() -> None:
    def nothing(model: nn.Module, *arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
        parameters = model.named_parameters()
        return {name: torch.zeros(each.shape).bool() for name, each in parameters if each.dim() > 1}

    model, example = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), torch.zeros(1, 2)
    comparison = analysis.compare(model, example, methods={"nothing": nothing}, densities=[0.5])
    _, _, line = str(comparison).splitlines()
    cells = ["nothing", "50%", "0.00%", "0.00%", "0.00%", "0", "none", "0.00%", "2"]
    assert line.split()[:-1] == cells


def test_methods_get_the_model_the_density_and_what_is_to_be_pruned() -> None:
    model, example = lenet5(), IMAGE
    seen: list[Any] = []

    def method(*arguments: Any, **options: Any) -> phew.Masks:
        seen.append((arguments, options))
        return phew.sample_masks(*arguments, **options)

    comparison = analysis.compare(
        model,
        example,
        methods={"mine": method},
        densities=(0.2,),
        include=["fc*"],
        exclude=["fc3.*"],
    )
    options = {"density": 0.2, "include": ["fc*"], "exclude": ["fc3.*"]}
    assert seen == [((model, example), options)]
    (row,) = comparison.rows
    assert [layer.parameter for layer in row.analysis.layers] == ["fc1.weight", "fc2.weight"]


def test_a_density_out_of_reach_names_the_method() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.used(inputs) + 0 * self.unused(torch.zeros_like(inputs))

    methods: dict[str, Callable[..., phew.Masks]] = {
        "magnitude": baselines.magnitude,
        "walks": phew.sample_masks,
    }
    with pytest.raises(ValueError, match=r"^methods\['walks'\]: density 0.9 is out of reach: "):
        analysis.compare(
            Cut(), torch.zeros(1, 4), methods=methods, densities=[0.9], include=["*.weight"]
        )


def test_the_path_kernel_of_the_dense_network_is_computed_once(
    lenet: tuple[nn.Module, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    num_dense = 0

    def counted(graph: phew.WalkGraph, masks: Mapping[str, torch.Tensor]) -> Scaled:
        nonlocal num_dense
        num_dense += not masks
        return squared_paths(graph, masks)

    for module in ("comparison", "summary"):
        monkeypatch.setattr(f"phew.analysis.{module}.squared_paths", counted)
    analysis.compare(*lenet, methods=METHODS, densities=DENSITIES)
    assert num_dense == 1


def never(*arguments: Any, **options: Any) -> phew.Masks:
    raise AssertionError("called in spite of wrong arguments")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"methods": {}}, ValueError, r"^methods must hold at least one method, got \{\}\.$"),
        ({"densities": []}, ValueError, r"^densities must hold at least one density, got \[\]\.$"),
        ({"densities": [0.5, 2]}, ValueError, r"^density must be in \(0, 1\], got 2\.$"),
        ({"densities": 0.5}, TypeError, r"^densities must be a sequence of densities, got 0\.5\."),
        ({"exclude": ["head.*"]}, ValueError, r"^exclude must match parameters, got 'head\.\*'"),
    ],
)
def test_wrong_arguments_are_refused_before_any_method_runs(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"methods": {"never": never}, "densities": [0.5]} | change
    with pytest.raises(error, match=message):
        analysis.compare(nn.Linear(4, 4), torch.zeros(1, 4), **arguments)


def test_a_graph_is_refused_as_methods_take_models() -> None:
    graph: Any = phew.capture(nn.Linear(4, 4), torch.zeros(1, 4))
    with pytest.raises(TypeError, match=r"^model must be a torch.nn.Module, got WalkGraph\.$"):
        analysis.compare(graph, methods={"never": never}, densities=[0.5])


def test_progress_is_the_share_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    class Bar:
        def __enter__(self) -> Callable[[float], None]:
            return shares.append

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(
        "phew.analysis.comparison.progress_bar", lambda title, *, shown: Bar() if shown else None
    )
    methods = {"one": baselines.magnitude, "two": baselines.random}
    model, example = nn.Linear(4, 4), torch.zeros(1, 4)
    analysis.compare(model, example, methods=methods, densities=[0.5, 0.25], progress=True)
    assert shares == [0.25, 0.5, 0.75, 1.0]
