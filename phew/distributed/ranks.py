"""The ranks of a process group, and how they exchange results.

Every exchange needs all ranks. A rank that failed before it would leave the others waiting, so
ranks first tell each other whether they are ready. That takes one all-reduce of one byte:

    rank 0   ready ----+                       +---- exchange
    rank 1   ready ----+-- all-reduce: ready --+---- exchange

    rank 0   ready ----+                       +---- RankError: rank 1 failed
    rank 1   failed ---+-- all-reduce: failed -+---- its own error
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import distributed as dist

from phew.distributed.sharding import holders

_Result = TypeVar("_Result")


class RankError(RuntimeError):
    """Raised on each rank when another has failed."""


class Ranks:
    """The processes that make a call together and share its work.

    An error of one rank ends the call of all, and no rank waits for one that has failed.

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
            # A group that has NCCL alone cannot exchange tensors on the CPU.
            has_cpu = "cpu" in dist.get_backend_config(group)
            self._device = torch.device("cpu" if has_cpu else "cuda")
        self._group = group

    @contextmanager
    def fail_together(self) -> Iterator[None]:
        """Fail on all ranks if the block of code fails on one.

        Raises:
            RankError: If it failed on another rank, or another rank has stopped.
        """
        try:
            yield
        except RankError:
            raise
        except BaseException as error:
            with contextlib.suppress(RankError):
                self._wait_for_all(f"{type(error).__name__}: {error}")
            raise
        self._wait_for_all()

    def check(self, parameters: Mapping[str, torch.Tensor], device: torch.device) -> None:
        """Refuse a group that cannot walk on a device over these parameters, given by name.

        Raises:
            ValueError: If ranks outside the group hold parts of the weights, or ranks of the group
                cannot exchange tensors on the device.
        """
        members = [] if self._group is None else dist.get_process_group_ranks(self._group)
        for name, parameter in parameters.items():
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

    def check_equal(self, facts: Callable[[], Mapping[str, object]]) -> None:
        """Refuse facts that are not the same on all ranks.

        Args:
            facts: A function that returns the values to compare, by the names that an error calls
                them; it is not called if there is one rank.

        Raises:
            ValueError: If a value differs, on all ranks.
        """
        if self.number == 1:
            return
        told = self._gather_objects(facts())
        for name, value in told[0].items():
            for rank, others in enumerate(told):
                if others.get(name) != value:
                    raise ValueError(
                        f"{name} must be the same on all ranks, got {value} on rank 0 and "
                        f"{others.get(name)} on rank {rank}. Give all ranks the same arguments and "
                        "the same model with the same weights: load or broadcast them first."
                    )

    def run_divided(
        self, calls: Sequence[Callable[[], _Result]], *, all_alike: bool
    ) -> list[_Result]:
        """Return the results of calls on all ranks.

        Args:
            calls: The calls. Rank r of n makes calls r, r + n, ... and broadcasts their results.
            all_alike: Whether each rank makes all calls instead.
        """
        if all_alike or self.number == 1:
            return [call() for call in calls]
        members = dist.get_process_group_ranks(self._group)
        owners = [i % self.number for i in range(len(calls))]
        results: list[Any] = [
            call() if owner == self.rank else None
            for call, owner in zip(calls, owners, strict=True)
        ]
        with self.synchronised():
            for i, owner in enumerate(owners):
                told = [results[i]]
                dist.broadcast_object_list(told, members[owner], self._group)
                (results[i],) = told
        return results

    def merge_bits(self, bits: torch.Tensor) -> None:
        """Set the bits that any rank has set; `bits` are bytes on the CPU, changed in place."""
        if self.number > 1:
            with self.synchronised():
                dist.all_reduce(bits, dist.ReduceOp.BOR, self._group)

    def merge_flags(self, flags: torch.Tensor) -> None:
        """Set the flags that any rank has set; `flags` is a bool tensor, changed in place."""
        if self.number > 1:
            with self.synchronised():
                dist.all_reduce(flags.view(torch.uint8), dist.ReduceOp.MAX, self._group)

    def gather_visits(
        self, visits: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the visits of all ranks.

        Args:
            visits: The visits of this rank: numbers of weights and of walks, int64.
        """
        if self.number == 1:
            return visits
        sizes = self._gather_objects(len(visits[0]))
        # An all-gather takes tensors of one size, so shorter ones are filled up.
        own = torch.stack(visits)
        own = torch.nn.functional.pad(own, (0, max(sizes) - own.shape[1]))
        gathered = [torch.empty_like(own) for _ in sizes]
        with self.synchronised():
            dist.all_gather(gathered, own, self._group)
        parts = [part[:, :size] for part, size in zip(gathered, sizes, strict=True)]
        weights, walks = torch.cat(parts, dim=1)
        return weights, walks

    def broadcast_first(self, value: _Result) -> _Result:
        """Return the first rank's value on all ranks."""
        first: _Result = self._gather_objects(value)[0]
        return first

    def maximum(self, number: int) -> int:
        """Return the largest of the ranks' numbers."""
        return int(max(self._gather_objects(number)))

    @contextmanager
    def synchronised(self) -> Iterator[None]:
        """Wait for all ranks before a block of code in which they exchange tensors.

        Raises:
            RankError: If another rank has failed, or stops in the block.
        """
        self._wait_for_all()
        with _translated_errors():
            yield

    def _wait_for_all(self, failure: str | None = None) -> None:
        """Wait until all ranks are ready; raise RankError if another has failed."""
        if self.number == 1:
            return
        failed = torch.tensor(failure is not None, dtype=torch.uint8, device=self._device)
        with _translated_errors():
            dist.all_reduce(failed, dist.ReduceOp.MAX, self._group)
        if not failed:
            return
        for rank, its_failure in enumerate(self._all_gather(failure)):
            if its_failure is not None and rank != self.rank:
                raise RankError(f"rank {rank} of the group failed, and with it all: {its_failure}")

    def _gather_objects(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank."""
        if self.number == 1:
            return [value]
        self._wait_for_all()
        return self._all_gather(value)

    def _all_gather(self, value: Any) -> list[Any]:
        values = [None] * self.number
        with _translated_errors():
            dist.all_gather_object(values, value, self._group)
        return values


ALONE = Ranks()
"""This process, without others."""


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise RankError for what torch.distributed raises when another rank does not answer."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise RankError(
            "group must have all its ranks until the call ends, got no answer from one "
            f"({error}). See what that rank printed last, and start all ranks again."
        ) from error
