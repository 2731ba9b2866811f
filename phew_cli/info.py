"""`phew models` and `phew info`: the built-in networks, versions and devices."""

from __future__ import annotations

import json
import platform
from typing import Any

import typer

from phew_cli.messages import messages_in_one_line
from phew_cli.options import AsJson


def models(as_json: AsJson = False) -> None:
    """List the built-in networks."""
    with messages_in_one_line():
        import torch

        from phew.models import NETWORKS

    facts: list[dict[str, Any]] = []
    for name, network in NETWORKS.items():
        with torch.device("meta"):
            parameters = network.build().parameters()
        num_weights = sum(weight.numel() for weight in parameters if weight.dim() > 1)
        facts.append(
            {"name": name, "input_shape": network.input_shape, "num_prunable_weights": num_weights}
        )
    if as_json:
        typer.echo(json.dumps(facts))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "input shape", box=None)
    table.add_column("prunable weights", justify="right")
    for row in facts:
        shape = ",".join(map(str, row["input_shape"]))
        table.add_row(row["name"], shape, f"{row['num_prunable_weights']:,}")
    Console().print(table)


def info(as_json: AsJson = False) -> None:
    """Print versions, and what walks can use.

    That is instruction sets, threads and CUDA devices.
    """
    with messages_in_one_line():
        import numpy as np
        import torch

        import phew._core as _core
        from phew._core import __version__, instruction_set, instruction_sets
        from phew.walks.devices import built_with_cuda, obstacle

    facts = {
        "phew": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "instruction_set": instruction_set(),
        "instruction_sets": instruction_sets(),
        "built_with_cuda": built_with_cuda,
        "cuda_version": _core.cuda_version() if built_with_cuda else None,
        "gpu_capabilities": _core.cuda_capabilities() if built_with_cuda else [],
        "torch_cuda": torch.version.cuda,
        "devices": [
            _describe_device(
                torch.cuda.get_device_properties(index), obstacle(index) if built_with_cuda else ""
            )
            for index in range(torch.cuda.device_count())
        ],
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        value = ", ".join(fact) if isinstance(fact, list) else fact
        table.add_row(name.replace("_", " "), "none" if value in (None, "") else str(value))
    Console(soft_wrap=True).print(table)


def _describe_device(device: Any, obstacle: str) -> str:
    gibibytes = device.total_memory / 2**30
    capability = f"compute capability {device.major}.{device.minor}"
    unused = f", not used by phew: {obstacle}" if obstacle else ""
    return f"{device.name} ({gibibytes:.0f} GiB, {capability}{unused})"
