"""Ways to run a network whose weights are mostly zero, each as its documentation says.

Packages are imported when they are used: any of them may be missing.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import phew
from phew.sparse.geometry import Way
from rivals.sparse_networks import Masked

OPSET = 17
"""The newest version of ONNX's operators that all of the runtimes read."""

BLOCK = (4, 4)
"""The blocks of torch's BSR. Where 10 % of the weights are kept anywhere, 81 % of these are."""

Run: TypeAlias = Callable[[], Tensor]


@dataclass(frozen=True)
class Runner:
    """A way to run a network.

    Attributes:
        prepare: Makes the function to be timed, for so many threads.
        package: The distribution that it is from; empty if that is torch or phew.
        tolerance: How far outputs may be from the dense ones, as a share of the largest output.
    """

    prepare: Callable[[Masked, int], Run]
    package: str = ""
    tolerance: float = 1e-4


def version_of(package: str) -> str | None:
    """Return the version of a distribution; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _dense(masked: Masked, num_threads: int) -> Run:
    return partial(masked.copy(), masked.example)


def _phew(way: Way, masked: Masked, num_threads: int) -> Run:
    model = masked.copy()
    phew.to_sparse(model, masked.masks, example_inputs=masked.example, way=way)
    return partial(model, masked.example)


def _phew_compiled(masked: Masked, num_threads: int) -> Run:
    model = masked.copy()
    phew.to_sparse(model, masked.masks, example_inputs=masked.example)
    return partial(torch.compile(model), masked.example)


def _bfloat16(masked: Masked, num_threads: int) -> Run:
    return partial(masked.copy().bfloat16(), masked.example.bfloat16())


def _int8(masked: Masked, num_threads: int) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated in favour of torchao
        model = torch.ao.quantization.quantize_dynamic(masked.copy(), {nn.Linear})
    return partial(model, masked.example)


class CsrLinear(nn.Module):
    """A linear layer by torch's rows of kept weights, with indices of 32 bits."""

    def __init__(self, layer: nn.Linear, mask: Tensor) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is said to be in beta state
            csr = layer.weight.detach().to_sparse_csr()
            rows, columns = csr.crow_indices().int(), csr.col_indices().int()
            self.weight = torch.sparse_csr_tensor(rows, columns, csr.values(), csr.shape)
        self.bias = layer.bias

    def forward(self, input: Tensor) -> Tensor:
        rows = (self.weight @ input.reshape(-1, input.shape[-1]).t()).t()
        output = rows.reshape(*input.shape[:-1], rows.shape[1])
        return output if self.bias is None else output + self.bias


class BsrLinear(nn.Module):
    """A linear layer by torch's blocks of kept weights."""

    def __init__(self, layer: nn.Linear, mask: Tensor) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is said to be in beta state
            self.weight = layer.weight.detach().to_sparse_bsr(BLOCK)
        self.bias = layer.bias

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)


def sparselab_layer(layer: nn.Linear, mask: Tensor) -> nn.Module:
    """Make a sparselab layer of the kept weights of a layer, which may be trained."""
    import sparselab

    # It keeps transposed weights by the address of the weight, which another may have had before.
    sparselab.ops._clear_transpose_cache()
    sparse: Any = sparselab.SparseLinear(
        layer.in_features, layer.out_features, bias=layer.bias is not None, sparsity=0.999
    )
    # The constructor draws a mask, and takes no other; these are the attributes that it sets.
    csr = sparselab.PaddedCSR.from_dense(layer.weight.detach() * mask, padding_ratio=0.0)
    sparse._csr, sparse._values = csr, nn.Parameter(torch.from_numpy(np.asarray(csr.values)))
    if layer.bias is not None:
        sparse.bias = nn.Parameter(layer.bias.detach().clone())
    layer_of_sparselab: nn.Module = sparse
    return layer_of_sparselab


def replace_linears(masked: Masked, make: Callable[[nn.Linear, Tensor], nn.Module]) -> nn.Module:
    """Copy a network, whose masked layers must be linear, and make these anew."""
    model = masked.copy()
    for name, mask in masked.masks.items():
        path = name.removesuffix(".weight")
        layer = model.get_submodule(path)
        assert isinstance(layer, nn.Linear), path
        model.set_submodule(path, make(layer, mask))
    return model


def _replaced(make: Callable[[nn.Linear, Tensor], nn.Module], masked: Masked, _: int) -> Run:
    return partial(replace_linears(masked, make).eval(), masked.example)


def _exported(masked: Masked, folder: str) -> Path:
    path = Path(folder, "network.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter needs further packages
        torch.onnx.export(
            masked.copy(),
            (masked.example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
        )
    return path


def _onnx_runtime(masked: Masked, num_threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    # Threads that wait for the next run in a loop would take the processor from other ways.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        session = onnxruntime.InferenceSession(
            _exported(masked, folder), options, providers=["CPUExecutionProvider"]
        )
    input = {"input": masked.example.numpy()}
    return lambda: torch.from_numpy(session.run(None, input)[0])


def _openvino(masked: Masked, num_threads: int) -> Run:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": num_threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    with tempfile.TemporaryDirectory() as folder:
        compiled = openvino.Core().compile_model(_exported(masked, folder), "CPU", settings)
    request = compiled.create_infer_request()
    input = masked.example.numpy()
    return lambda: torch.from_numpy(request.infer([input], share_inputs=True)[0])


def _deepsparse(masked: Masked, num_threads: int) -> Run:
    os.environ["NM_DISABLE_ANALYTICS"] = "1"
    import deepsparse

    if int(np.__version__.partition(".")[0]) > 1:
        raise RuntimeError("its outputs are wrong with NumPy 2")
    with tempfile.TemporaryDirectory() as folder:
        path = _exported(masked, folder)
        engine = deepsparse.Engine(str(path), len(masked.example), num_cores=num_threads)
    input = masked.example.numpy()
    return lambda: torch.from_numpy(engine.run([input])[0])


DENSE = "dense float32"
PHEW, PHEW_SPARSE, PHEW_COMPILED = "phew", "phew, sparse loops", "phew, compiled"

WAYS: dict[str, Runner] = {
    DENSE: Runner(_dense),
    PHEW: Runner(partial(_phew, "auto")),
    PHEW_SPARSE: Runner(partial(_phew, "sparse")),
    PHEW_COMPILED: Runner(_phew_compiled),
    "dense bfloat16": Runner(_bfloat16, tolerance=0.1),
    "dense int8, dynamic": Runner(_int8, tolerance=0.2),
    "torch CSR": Runner(partial(_replaced, CsrLinear)),
    "torch BSR": Runner(partial(_replaced, BsrLinear)),
    "ONNX Runtime": Runner(_onnx_runtime, "onnxruntime"),
    "OpenVINO": Runner(_openvino, "openvino"),
    "DeepSparse": Runner(_deepsparse, "deepsparse"),
    "sparselab": Runner(partial(_replaced, sparselab_layer), "sparselab"),
}
"""The ways by name; the first is the one that others are compared with."""
