"""Walks shared out among the ranks of a process group."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed as dist

from phew.graph import WalkGraph
from phew.packed import PackedMasks
from phew.sharding import holders, is_sharded, own_part, whole

_Result = TypeVar("_Result")


class RankError(RuntimeError):
    """Another rank has failed, and all ranks know."""


class Ranks:
    """The processes that make a call together, each a part of its walks.

    Before anything that needs all ranks, they tell each other that they have got there; a rank that
    fails says so instead. So an error of one ends the call of all, and none waits for it.

    Args:
        group: The process group; None for this process alone.

    Attributes:
        rank: The number of this process in the group.
        number: How many there are.

    Raises:
        TypeError: If `group` is not a process group.
        ValueError: If this process is not in it.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.rank, self.number = 0, 1
        if group is not None:
            outside: Any = dist.GroupMember.NON_GROUP_MEMBER if dist.is_available() else None
            if group == outside:
                raise ValueError("group must have this process among its ranks, got another.")
            if not dist.is_available() or not isinstance(group, dist.ProcessGroup):
                raise TypeError(
                    "group must be a torch.distributed.ProcessGroup, e.g. "
                    f"torch.distributed.group.WORLD, got {type(group).__name__}."
                )
            self.rank, self.number = dist.get_rank(group), dist.get_world_size(group)
            # Without a backend for the CPU, NCCL's, tensors are exchanged on the current device.
            has_cpu = "cpu" in dist.get_backend_config(group)
            self._device = torch.device("cpu" if has_cpu else "cuda")
        self._group = group

    @contextmanager
    def together(self) -> Iterator[None]:
        """Fail on all ranks if what follows fails on one.

        Raises:
            RankError: If it failed on another rank, or that has stopped.
        """
        try:
            yield
        except RankError:
            raise
        except BaseException as error:
            with contextlib.suppress(RankError):
                self._ready(f"{type(error).__name__}: {error}")
            raise
        self._ready()

    def check(self, graph: WalkGraph, device: torch.device) -> None:
        """Refuse a group that cannot walk on a graph.

        Raises:
            ValueError: If ranks outside the group hold parts of the weights, or ranks of the group
                cannot exchange tensors on the device.
        """
        members = [] if self._group is None else dist.get_process_group_ranks(self._group)
        for name, parameter in graph.parameters.items():
            if not set(holders(parameter)) <= set(members):
                raise ValueError(
                    f"group must have all ranks that hold a part of {name!r}, "
                    f"{holders(parameter)}, got {members or None}. "
                    "Pass group=torch.distributed.group.WORLD."
                )
        if self._group is None:
            return
        backends = dist.get_backend_config(self._group)
        if device.type not in [backend.partition(":")[0] for backend in backends.split(",")]:
            raise ValueError(
                f"group must have a backend for {device.type}, where walks run, got {backends!r}. "
                "Pass another device, or a group of torch.distributed.new_group with such a one."
            )

    def agree(self, facts: Callable[[], Mapping[str, object]]) -> None:
        """Refuse what is not the same on all ranks.

        Args:
            facts: Returns what to compare, by what an error calls it.

        Raises:
            ValueError: If a value differs, on all ranks.
        """
        if self.number == 1:
            return
        told = self._tell(facts())
        for name, value in told[0].items():
            for rank, others in enumerate(told):
                if others.get(name) != value:
                    raise ValueError(
                        f"{name} must be the same on all ranks, got {value} on rank 0 and "
                        f"{others.get(name)} on rank {rank}. Give all ranks the same arguments and "
                        "the same model with the same weights: load or broadcast them first."
                    )

    def parts_of(self, walks: range, *, alike: bool) -> list[range]:
        """Return the walks that are this rank's.

        Args:
            walks: Those of all ranks.
            alike: Whether all ranks make walks of both directions. Otherwise those of a rank are of
                one; of an odd number of ranks, one has some of both.
        """
        begin, end = (-(-len(walks) * rank // self.number) for rank in (self.rank, self.rank + 1))
        if alike or self.number == 1:
            return [walks[begin:end]]
        first, second = walks[::2], walks[1::2]
        begin_of_second, end_of_second = (max(0, each - len(first)) for each in (begin, end))
        return [first[begin:end], second[begin_of_second:end_of_second]]

    def share_out(self, calls: Sequence[Callable[[], _Result]], *, alike: bool) -> list[_Result]:
        """Return what calls return: each is made by one rank, or by all alike."""
        if alike or self.number == 1:
            return [call() for call in calls]
        members = dist.get_process_group_ranks(self._group)
        owners = [i % self.number for i in range(len(calls))]
        results: list[Any] = [
            call() if owner == self.rank else None
            for call, owner in zip(calls, owners, strict=True)
        ]
        with self._meeting():
            for i, owner in enumerate(owners):
                told = [results[i]]
                dist.broadcast_object_list(told, members[owner], self._group)
                (results[i],) = told
        return results

    def merge(self, marks: Mapping[str, torch.Tensor]) -> None:
        """Mark what any rank has marked.

        On the CPU one all-reduce, of a bit an element: ceil(n / 8) bytes for a tensor of n.

        Args:
            marks: Boolean tensors, changed in place, or packed ones.
        """
        if self.number == 1:
            return
        if not isinstance(marks, PackedMasks) and all(flags.is_cuda for flags in marks.values()):
            # NCCL has no bitwise operations.
            with self._meeting():
                for flags in marks.values():
                    dist.all_reduce(flags.view(torch.uint8), dist.ReduceOp.MAX, self._group)
            return
        packed = PackedMasks.of(marks)
        parts = list(packed.packed.values())
        merged = torch.cat(parts)
        with self._meeting():
            dist.all_reduce(merged, dist.ReduceOp.BOR, self._group)
        for part, its_merged in zip(
            parts, merged.split([len(part) for part in parts]), strict=True
        ):
            part.copy_(its_merged)
        if packed is not marks:
            for name, flags in marks.items():
                flags.copy_(packed[name])

    def gather(
        self, visits: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the visits of all ranks.

        Args:
            visits: Those of this rank: weights and walks, int64.
        """
        if self.number == 1:
            return visits
        sizes = self._tell(len(visits[0]))
        # Ranks exchange tensors of one size.
        own = torch.stack(visits)
        own = torch.nn.functional.pad(own, (0, max(sizes) - own.shape[1]))
        gathered = [torch.empty_like(own) for _ in sizes]
        with self._meeting():
            dist.all_gather(gathered, own, self._group)
        parts = [part[:, :size] for part, size in zip(gathered, sizes, strict=True)]
        weights, walks = torch.cat(parts, dim=1)
        return weights, walks

    def of_first(self, value: _Result) -> _Result:
        """Return the first rank's value, where others may have rounded otherwise."""
        first: _Result = self._tell(value)[0]
        return first

    def most(self, number: int) -> int:
        """Return the largest of the ranks' numbers."""
        return int(max(self._tell(number)))

    def data_of(self, graph: WalkGraph, parameter: str, device: torch.device) -> torch.Tensor:
        """Return a parameter's data, all ranks together if it is sharded."""
        if not is_sharded(graph.parameters[parameter]):
            return graph.data_of(parameter, device)
        sharded = graph.parameters[parameter].detach()
        _find_room_for(sharded)
        with self._meeting():
            gathered = whole(sharded)
        return graph.data_of(parameter, device, gathered)

    @contextmanager
    def _meeting(self) -> Iterator[None]:
        """Do something with all ranks, once they have got there."""
        self._ready()
        with _answered():
            yield

    def _ready(self, failure: str | None = None) -> None:
        """Wait until all ranks are ready, unless another tells of its failure."""
        if self.number == 1:
            return
        failed = torch.tensor(failure is not None, dtype=torch.uint8, device=self._device)
        with _answered():
            dist.all_reduce(failed, dist.ReduceOp.MAX, self._group)
        if not failed:
            return
        for rank, its_failure in enumerate(self._exchange(failure)):
            if its_failure is not None and rank != self.rank:
                raise RankError(f"rank {rank} of the group failed, and with it all: {its_failure}")

    def _tell(self, value: Any) -> list[Any]:
        """Return what all ranks tell, by rank."""
        if self.number == 1:
            return [value]
        self._ready()
        return self._exchange(value)

    def _exchange(self, value: Any) -> list[Any]:
        values = [None] * self.number
        with _answered():
            dist.all_gather_object(values, value, self._group)
        return values


ALONE = Ranks()
"""This process, without others."""


def _find_room_for(sharded: torch.Tensor) -> None:
    """Fail before others wait for this rank, if there is no room for a gathered tensor."""
    part = own_part(sharded)
    # All of it, and once more in parts.
    part.new_empty((2, *sharded.shape))


@contextmanager
def _answered() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RankError(
            "group must have all its ranks until the call ends, got no answer from one "
            f"({error}). See what that rank printed last, and start all ranks again."
        ) from error
