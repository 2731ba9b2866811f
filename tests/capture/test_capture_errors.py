"""`capture` refuses what it cannot capture, and says why."""

from __future__ import annotations

# mypy: disable-error-code="index, no-any-return, operator"
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import phew
from phew.capture.builder import GraphBuilder
from phew.capture.operations import joins
from phew.capture.tracer import Tracer


def sparse_model() -> nn.Module:
    model = nn.Linear(4, 4)
    model.weight = nn.Parameter(torch.eye(4).to_sparse())
    return model


def integer_model() -> nn.Module:
    weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    return nn.ParameterDict({"w": weight})


def linear() -> nn.Module:
    return nn.Linear(4, 2)


ROW = torch.zeros(1, 4)


@pytest.mark.parametrize(
    ("build", "inputs", "message"),
    [
        (linear, torch.zeros(1, 5), r"example_inputs must be accepted by the model, got Runtime"),
        (nn.ReLU, ROW, r"model must have prunable weights .*, got none"),
        (
            integer_model,
            ROW,
            r"'w' must be of dtype float32, float64, float16, bfloat16, complex64",
        ),
        (integer_model, ROW, r"or complex128, got torch.int8. Leave it out with exclude=\['w'\]"),
        (sparse_model, ROW, r"parameter 'weight' must be dense, got a sparse tensor"),
    ],
)
def test_what_cannot_be_captured_is_named(
    build: Callable[[], nn.Module], inputs: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        phew.capture(build(), inputs)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor.*:UserWarning")
def test_quantised_weights_are_named() -> None:
    model = nn.Linear(4, 2)
    quantised = torch.quantize_per_tensor(torch.ones(2, 4), 0.1, 0, torch.qint8)
    model.weight = nn.Parameter(quantised, requires_grad=False)
    with pytest.raises(ValueError, match="parameter 'weight' must be dense, got a quantised"):
        phew.capture(model, ROW)


def test_bad_types() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got str"):
        phew.capture("resnet", ROW)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"example_inputs must be a tensor, a tuple .*, got list"):
        phew.capture(linear(), [ROW])


class LazyBuffer(nn.Linear):
    def __init__(self) -> None:
        super().__init__(4, 2)
        self.register_buffer("scale", nn.UninitializedBuffer())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.Sequential(linear(), nn.LazyLinear(2)), "parameter '1.weight'"),
        (LazyBuffer, "buffer 'scale'"),
    ],
)
def test_lazy_models_are_to_be_run_first(build: Callable[[], nn.Module], message: str) -> None:
    message += " must be initialised, got a lazy one. Run the model once on example inputs."
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.capture(build(), ROW)


def same_memory(model: nn.Sequential) -> None:
    model[1].weight.data = model[0].weight.data
    model[1].bias.data = model[0].bias.data


def transposed(model: nn.Sequential) -> None:
    model[1].weight.data = model[0].weight.data.t()


def sliced(model: nn.Sequential) -> None:
    buffer = torch.rand(30)
    model[0].weight.data, model[1].weight.data = buffer[:16].view(4, 4), buffer[14:30].view(4, 4)


def interleaved(model: nn.Sequential, shift: int) -> None:
    buffer = torch.rand(8, 8)
    model[0].weight.data = buffer[::2, :4]
    model[1].weight.data = buffer[1::2, 4:] if shift else buffer[:4, 3:7]


def expanded(model: nn.Sequential) -> None:
    model[1].weight.data = model[0].weight.data[:1].expand(4, 4)


def bias_within(model: nn.Sequential) -> None:
    model[1].bias.data = model[0].weight.data[2]


def three_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))


@pytest.mark.parametrize(
    "share",
    [same_memory, transposed, sliced, lambda m: interleaved(m, 0), expanded, bias_within],
    ids=["same", "transposed", "sliced", "interleaved", "expanded", "bias"],
)
def test_two_parameters_of_one_memory_are_named(share: Callable[[nn.Sequential], None]) -> None:
    model = three_layers()
    share(model)
    weights = [model[0].weight.tolist(), model[1].weight.tolist()]
    what = "bias" if share is bias_within else "weight"
    message = (
        f"parameter '1.{what}' must have memory of its own, got that of '0.weight'. "
        "Tie them as one: assign the same Parameter to both, or compute one from the other in "
        "forward. Or exclude both."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.prune(model, ROW, density=0.5)
    # A mask of the first would be one of the second also where that is not to be pruned.
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.prune(model, ROW, density=0.5, exclude=["1.*"])
    assert weights == [model[0].weight.tolist(), model[1].weight.tolist()]
    exclude = ["0.weight", "1.*"]
    assert phew.capture(model, ROW, exclude=exclude).prunable == ("2.weight",)


def test_parameters_may_be_parts_of_one_buffer() -> None:
    for share in (lambda m: interleaved(m, 1), one_buffer):
        model = three_layers()
        share(model)
        assert phew.capture(model, ROW).num_prunable_weights == 40


def one_buffer(model: nn.Sequential) -> None:
    buffer = torch.rand(32)
    model[0].weight.data, model[1].weight.data = buffer[:16].view(4, 4), buffer[16:].view(4, 4)


def test_offloaded_weights_are_named() -> None:
    model = three_layers()
    with torch.device("meta"):
        model[1] = nn.Linear(4, 4)
    assert phew.capture(model, ROW).num_prunable_weights == 40
    model[1]._hf_hook = object()  # type: ignore[assignment]
    message = (
        "model must hold its weights, got '1.weight' on the meta device, because accelerate "
        "offloads it. Prune the model before it is dispatched, or load it without device_map "
        "(or with one that puts all modules on one device)."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.capture(model, ROW)


def test_a_hook_of_accelerate_on_weights_that_are_there_is_no_error() -> None:
    model = three_layers()
    for module in model.modules():
        module._hf_hook = object()  # type: ignore[assignment]
    assert phew.capture(model, ROW).num_prunable_weights == 40


def test_why_nothing_can_be_pruned_is_listed() -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.used, self.unused = nn.LayerNorm(4), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(self.norm(x))

    message = (
        "got none ('used.weight': excluded by 'used.*'; 'used.bias': excluded by 'used.*'; "
        "'unused.weight': never used by the example inputs; "
        "'unused.bias': never used by the example inputs; "
        "'norm.weight': vector (bias, normalisation, ...); ...)."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.capture(Unused(), ROW, exclude=["used.*"])
    message = "which selects none ('unused.weight': never used by the example inputs). Leave"
    with pytest.raises(ValueError, match=re.escape(message)):
        phew.capture(Unused(), ROW, include=["unused.weight"])


class Raises(nn.Module):
    """Raises an error, on shapes that of a layer where the other is for values."""

    def __init__(self, error: Callable[[], Exception], *, on_values: bool = False) -> None:
        super().__init__()
        self.layer, self.error, self.on_values = nn.Linear(4, 2), error, on_values

    def forward(self, x: Tensor) -> Tensor:
        if self.on_values and x.is_meta:
            return self.layer(x[:, :3])
        raise self.error()


def test_what_the_model_raised_is_the_cause_and_earlier_attempts_are_noted() -> None:
    model = Raises(lambda: KeyError("absent"), on_values=True)
    with pytest.raises(ValueError, match=r"accepted by the model, got KeyError: 'absent'") as info:
        phew.capture(model, ROW)
    assert isinstance(info.value.__cause__, KeyError)
    notes: list[str] = info.value.__notes__
    assert [note.partition(":")[0] for note in notes] == ["Run on shapes"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("all of it"),
        torch.OutOfMemoryError("the GPU's"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["python", "gpu", "cpu"],
)
def test_lack_of_memory_is_raised_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as info:
        phew.capture(Raises(lambda: error), ROW)
    assert info.value is error


@pytest.mark.parametrize("is_at_exit", [False, True])
def test_failures_of_capture_are_not_blamed_on_example_inputs(
    is_at_exit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a fault of phew")

    if is_at_exit:
        monkeypatch.setattr(Tracer, "exits", fail)
    else:
        monkeypatch.setattr(GraphBuilder, "find_or_add_space", fail)
        monkeypatch.setattr(joins, "unknown", fail)
    with pytest.raises(AssertionError, match="a fault of phew") as info:
        phew.capture(three_layers(), ROW)
    notes: list[str] = getattr(info.value, "__notes__", [])
    reported = "phew was following '0.addmm'. Please report this."
    assert notes == ([] if is_at_exit else [reported])


def test_a_failure_of_capture_on_shapes_alone_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    exits = Tracer.exits

    def fail_on_shapes(tracer: Tracer, outputs: object) -> list[int]:
        if isinstance(outputs, Tensor) and outputs.is_meta:
            raise AssertionError("a fault of phew")
        return exits(tracer, outputs)

    monkeypatch.setattr(Tracer, "exits", fail_on_shapes)
    with pytest.raises(AssertionError, match="a fault of phew"):
        phew.capture(three_layers(), ROW)


def test_lack_of_memory_in_a_rule_is_no_approximation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("labels")

    monkeypatch.setattr(GraphBuilder, "find_or_add_space", fail)
    with pytest.raises(MemoryError, match="labels"):
        phew.capture(three_layers(), ROW)
