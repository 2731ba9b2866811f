"""MODEL and its options become a network."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from phew.models import NETWORKS
from phew.running.example_inputs import described_inputs
from phew_cli.messages import say
from phew_cli.weights import load_weights


def load_network(
    target: str,
    input_shape: str | None,
    init_seed: int,
    weights: Path | None = None,
    *,
    on_meta: bool = False,
) -> tuple[nn.Module, Any]:
    """Build the network that MODEL names, and inputs for it.

    Args:
        target: MODEL.
        input_shape: The option.
        init_seed: The option.
        weights: The option: the file whose weights the network gets.
        on_meta: Whether to build it on the meta device, without weights.
    """
    shape = _parse_shape(input_shape) if input_shape is not None else None
    if target in NETWORKS:
        build = NETWORKS[target].build
        shape = shape or NETWORKS[target].input_shape
    elif target.partition(":")[0] in _LIBRARIES:
        build = _of_library(target)
    elif ":" in target:
        build = _import(target)
    else:
        close = difflib.get_close_matches(target, NETWORKS, n=1)
        suggestion = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            "MODEL must be a built-in name, LIBRARY:NAME, package.module:callable or "
            f"file.py:callable, got {target!r}.{suggestion} Built in are {', '.join(NETWORKS)}."
        )
    torch.manual_seed(init_seed)
    with torch.device("meta") if on_meta else nullcontext():
        network = _build(target, build)
    if weights is not None:
        for each in load_weights(network, weights):
            say(f"{str(weights)!r}: {each}.")
    if shape is not None:
        return network, torch.randn(1, *shape)
    try:
        return network, described_inputs(network)
    except ValueError:
        raise ValueError(
            f"--input-shape must be given for {target!r}, such as 3,224,224: "
            f"{type(network).__name__} does not describe its input."
        ) from None


def shape_of(example_inputs: Any) -> list[int] | None:
    """Return the shape of one input without the batch, None where there are several inputs."""
    return list(example_inputs.shape[1:]) if isinstance(example_inputs, torch.Tensor) else None


def _of_library(target: str) -> Callable[[], nn.Module]:
    """Return what builds a network of another library, with its initial weights."""
    library, _, name = target.partition(":")
    try:
        return _LIBRARIES[library](name)
    except ImportError as error:
        raise ValueError(
            f"MODEL must be of an installed library, got {target!r}: {error}."
        ) from error
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(
            f"MODEL must name a network of {library}, got {target!r}: {kind}: {error}"
        ) from error


def _of_timm(name: str) -> Callable[[], nn.Module]:
    import timm

    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name!r}.")
    return partial(timm.create_model, name)


def _of_torchvision(name: str) -> Callable[[], nn.Module]:
    import torchvision

    return partial(torchvision.models.get_model_builder(name), weights=None)


def _of_transformers(name: str) -> Callable[[], nn.Module]:
    import transformers

    if Path(name).exists():
        config = transformers.AutoConfig.from_pretrained(name)
    elif name.endswith("Config"):
        config = getattr(transformers, name)()
    else:
        raise ValueError("a class such as LlamaConfig, or a folder with a config.json, is needed.")
    # The folder of a checkpoint names the class of the model whose weights it has, heads included.
    for architecture in config.architectures or ():
        if kind := getattr(transformers, architecture, None):
            return lambda: kind._from_config(config)
    return lambda: transformers.AutoModel.from_config(config)  # type: ignore[no-untyped-call]


_LIBRARIES: dict[str, Callable[[str], Callable[[], nn.Module]]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
    "transformers": _of_transformers,
}


def _import(target: str) -> Callable[[], nn.Module]:
    module_name, _, attribute = target.rpartition(":")
    is_file = module_name.endswith(".py")
    parts = [attribute] if is_file else [*module_name.split("."), attribute]
    if not all(map(str.isidentifier, parts)):
        raise ValueError(
            f"MODEL must be package.module:callable or file.py:callable, got {target!r}."
        )
    if is_file and not Path(module_name).is_file():
        raise ValueError(f"MODEL must name a file, got {target!r}: there is none.")
    try:
        if is_file:
            module = _module_of(Path(module_name))
        else:
            sys.path.insert(0, str(Path.cwd()))
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"MODEL must name a module to import, got {target!r}: {error}.") from error
    if not hasattr(module, attribute):
        raise ValueError(f"MODEL must name a callable, got {target!r}: no {attribute!r} there.")
    build: Callable[[], nn.Module] = getattr(module, attribute)
    return build


def _module_of(path: Path) -> ModuleType:
    """Import a file, which may be named like an installed module and import its neighbours."""
    sys.path.insert(0, str(path.parent.resolve()))
    name = f"_phew_{hashlib.sha256(bytes(path.resolve())).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Pickles and dataclasses look a module up by its name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _build(target: str, build: Callable[[], nn.Module]) -> nn.Module:
    try:
        signature(build).bind()
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"MODEL must be callable without arguments, got {target!r}: {error}."
        ) from error
    try:
        network = build()
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(
            f"MODEL must return a torch.nn.Module, got {kind} from {target!r}: {error}."
        ) from error
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise TypeError(f"MODEL must return a torch.nn.Module, got {kind} from {target!r}.")
    return network


def parse_layer_densities(options: list[str] | None) -> dict[str, float]:
    """Return densities by pattern of options such as `head=0.5`."""
    densities: dict[str, float] = {}
    for option in options or ():
        pattern, _, number = option.rpartition("=")
        try:
            densities.setdefault(pattern, float(number))
        except ValueError:
            pattern = ""
        if not pattern:
            raise ValueError(
                f"--layer-density must be PATTERN=DENSITY, such as 'head=0.5', got {option!r}."
            )
    return densities


def _parse_shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ValueError(
            f"--input-shape must be positive integers with commas such as 3,224,224, got {text!r}."
        )
    return tuple(map(int, sizes))
