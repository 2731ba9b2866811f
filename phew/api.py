"""The calls that users make: from a model and a density to masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, overload

import torch
from torch import distributed as dist
from torch import nn

from phew.arguments import Selectors, as_densities, as_module, as_num_threads
from phew.capture.graph_of import as_graph
from phew.distributed.ranks import Ranks
from phew.graph.digests import digest_of_graph, digest_of_sharding
from phew.graph.walk_graph import WalkGraph
from phew.masks.held import is_pruned
from phew.masks.masks import Masks
from phew.masks.pruned_before import warn_if_pruned_before
from phew.masks.rescaling import Rescale, check_rescale
from phew.walks.devices import as_device
from phew.walks.masks_of_walks import masks_of_walks
from phew.walks.options import Fork, Granularity, Options, Power
from phew.walks.shares import as_layer_densities


@overload
def sample_masks(
    model: nn.Module | WalkGraph,
    example_inputs: Any = ...,
    *,
    density: float,
    layer_densities: Mapping[str, float] | None = ...,
    seed: int = ...,
    fork: Fork = ...,
    granularity: Granularity = ...,
    power: Power = ...,
    include: Selectors | None = ...,
    exclude: Selectors = ...,
    num_threads: int | None = ...,
    device: torch.device | str | None = ...,
    progress: bool = ...,
    group: dist.ProcessGroup | None = ...,
) -> Masks: ...


@overload
def sample_masks(
    model: nn.Module | WalkGraph,
    example_inputs: Any = ...,
    *,
    densities: Sequence[float],
    layer_densities: Mapping[str, float] | None = ...,
    seed: int = ...,
    fork: Fork = ...,
    granularity: Granularity = ...,
    power: Power = ...,
    include: Selectors | None = ...,
    exclude: Selectors = ...,
    num_threads: int | None = ...,
    device: torch.device | str | None = ...,
    progress: bool = ...,
    group: dist.ProcessGroup | None = ...,
) -> list[Masks]: ...


def sample_masks(
    model: nn.Module | WalkGraph,
    example_inputs: Any = None,
    *,
    density: float | None = None,
    densities: Sequence[float] | None = None,
    layer_densities: Mapping[str, float] | None = None,
    seed: int = 0,
    fork: Fork = "uniform",
    granularity: Granularity = "weight",
    power: Power = 1,
    include: Selectors | None = None,
    exclude: Selectors = (),
    num_threads: int | None = None,
    device: torch.device | str | None = None,
    progress: bool = False,
    group: dist.ProcessGroup | None = None,
) -> Masks | list[Masks]:
    """Sample PHEW masks: the weights that biased random walks through the network visit.

    A mask is a pure function of the weights, the graph, the density, the seed and the options, the
    same for any number of threads. Masks of one seed are nested across densities. The model is not
    changed, and must not be changed meanwhile: a thread that trains it, or a process that writes
    the file that its weights are mapped from, makes this an error.

    Args:
        model: The model, or the graph that `capture` made of it.
        example_inputs: What the model accepts (see `capture`, which says where it may be left out);
            left out where `model` is a graph.
        density: Kept / prunable weights, in (0, 1].
        densities: Several densities from one run, instead of `density`.
        layer_densities: Other densities than `density` of some parameters, by a name or pattern of
            parameters or modules: `{"head": 1, "blocks.*.mlp": 0.05}`. The weights that a pattern
            selects are counted together, and the first pattern that selects a parameter counts. A
            density of 1 keeps all weights, those too that no walk visits.
        seed: Key of the random numbers, in [0, 2^64).
        fork: How a walk chooses among the links of a unit: "uniform", or "mass" in proportion to
            the unit's mass in each.
        granularity: "weight" keeps the visited weights, "kernel" the whole kernels they are in.
        power: The bias of a walk is this power of the magnitude: 1 (PHEW), 0 (uniform walks), 2 or
            -1 (inverse).
        include: What alone is to be pruned: one or several names of parameters or modules, with `*`
            and `?` as wildcards, modules, or types of modules. By default all weights but lookup
            embeddings (see `capture`).
        exclude: What of it is not to be pruned, in the same way.
        num_threads: Number of threads on the CPU; by default that of torch.
        device: Where to walk, the CPU or a CUDA device: by default where the weights are, or the
            CPU where phew was built without CUDA. The masks are the same.
        progress: Whether to draw a progress bar on standard error.
        group: The process group, e.g. `torch.distributed.group.WORLD`, whose ranks all make this
            call and share the walks; the masks are the same. Of parameters that FSDP2 or tensor
            parallelism has sharded, each link's weights are gathered while it is walked, and each
            rank gets the mask of its part, a DTensor. An error of one rank ends the call of all.

    Returns:
        The masks, on their parameters' devices; a list in the order of `densities` if these are
        given.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument is out of range, the weights are not finite, the density is out
            of reach, `device` or `group` cannot be used, or ranks differ in what they pass.
        RuntimeError: If another rank of `group` fails, weights change during the call, or the
            system cannot start `num_threads`.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 10))
        >>> masks = phew.sample_masks(model, torch.zeros(1, 64), density=0.25)
        >>> masks["0.weight"].shape
        torch.Size([32, 64])

    Source: Patil & Dovrolis, PHEW, ICML 2021, section 4.
    """
    ranks = Ranks(group)
    with ranks.fail_together():
        if density is not None and densities is None:
            requested = as_densities([density])
        elif densities is not None and density is None:
            requested = as_densities(densities)
        else:
            raise TypeError("density or densities must be given, and not both.")
        layer_densities = as_layer_densities(layer_densities)
        options = Options(seed, fork, granularity, power)
        num_threads = as_num_threads(num_threads)
        graph = as_graph(model, example_inputs, include, exclude)
        walk_device = as_device(device, graph)
        ranks.check_equal(
            lambda: {
                "density" if densities is None else "densities": density or requested,
                "layer_densities": [*layer_densities.items()],
                **asdict(options),
                "the type of device": walk_device.type,
                "the graph of model": f"that of digest {digest_of_graph(graph)}",
                "the sharding of model": f"that of digest {digest_of_sharding(graph)}",
            }
        )
        masks = masks_of_walks(
            graph,
            options,
            requested,
            layer_densities=layer_densities,
            num_threads=num_threads,
            device=walk_device,
            ranks=ranks,
            progress=progress,
        )
    return masks if densities is not None else masks[0]


def prune(
    model: nn.Module,
    example_inputs: Any = None,
    *,
    density: float,
    layer_densities: Mapping[str, float] | None = None,
    seed: int = 0,
    fork: Fork = "uniform",
    granularity: Granularity = "weight",
    power: Power = 1,
    include: Selectors | None = None,
    exclude: Selectors = (),
    num_threads: int | None = None,
    device: torch.device | str | None = None,
    progress: bool = False,
    group: dist.ProcessGroup | None = None,
    rescale: Rescale = "auto",
) -> Masks:
    """Prune a model in place by PHEW: sample masks and apply them.

    The kept weights of units that nothing normalises are rescaled, so that the units keep their
    size, without which deep networks do not train. This is for a model that has not been pruned: to
    go on with a run, load its weights and apply its masks.

    Pruned weights are zero and stay zero through training with any `torch.optim.Optimizer`. Values
    that are written by hand are zeroed by the next step, and parameters that are passed to a model
    (`torch.func.functional_call`) are not held; `Masks.apply` says what is held and what is not.

    Args:
        model: The model; its pruned weights become zero and stay zero through training.
        example_inputs: What the model accepts (see `capture`, which says where it may be left out).
        density: Kept / prunable weights, in (0, 1].
        layer_densities: Other densities of some parameters by name or pattern, as in
            `sample_masks`, like all that follows.
        seed: Key of the random numbers.
        fork: How a walk chooses among the links of a unit.
        granularity: Whether weights or whole kernels are kept.
        power: The bias of a walk is this power of the magnitude.
        include: What alone is to be pruned: names of parameters or modules, with `*` and `?` as
            wildcards, modules, or types of modules, one or several; by default all weights but
            lookup embeddings and adapters.
        exclude: What of it is not to be pruned, in the same way: `["head", "blocks.*.mlp"]`.
        num_threads: Number of threads on the CPU; by default that of torch.
        device: Where to walk, the CPU or a CUDA device; by default where the weights are.
        progress: Whether to draw a progress bar on standard error.
        group: The process group whose ranks share the walks.
        rescale: By what each unit's kept weights are multiplied (see `Masks.apply`): "none" keeps
            them as they are, as for weights that were trained.

    Returns:
        The masks that were applied.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: As from `sample_masks`; the model is then left as it was.
        RuntimeError: As from `sample_masks`, too.

    Example:
        >>> import torch, phew
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Linear(32, 10))
        >>> masks = phew.prune(model, torch.zeros(1, 64), density=0.25)
        >>> bool((model[0].weight[~masks["0.weight"]] == 0).all())
        True
    """
    model = as_module(model)
    check_rescale(rescale)
    masks = sample_masks(
        model,
        example_inputs,
        density=density,
        layer_densities=layer_densities,
        seed=seed,
        fork=fork,
        granularity=granularity,
        power=power,
        include=include,
        exclude=exclude,
        num_threads=num_threads,
        device=device,
        progress=progress,
        group=group,
    )
    if not is_pruned(model):
        warn_if_pruned_before(masks, dict(model.named_parameters()))
    masks.apply(model, rescale=rescale)
    return masks
