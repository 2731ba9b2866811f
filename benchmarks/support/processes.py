"""Measurements in processes of their own, whose memory holds nothing of other measurements."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

EXIT_SECONDS = 10.0
"""The time that a process may take to end after it gave its result."""


def in_fresh_process(
    function: Callable[Arguments, Result], *arguments: Arguments.args, **keywords: Arguments.kwargs
) -> Result:
    """Call a function of a module in a fresh process."""
    return with_environment({}, function, *arguments, **keywords)


def with_environment(
    variables: Mapping[str, str],
    function: Callable[Arguments, Result],
    *arguments: Arguments.args,
    **keywords: Arguments.kwargs,
) -> Result:
    """Call a function of a module in a fresh process, with some environment variables."""
    call = pickle.dumps((function, arguments, keywords))
    with ProcessPoolExecutor(max_workers=1, mp_context=_context()) as executor:
        result: Result = executor.submit(_run, dict(variables), call).result()
        return result


class Failure(Exception):
    """Raised if a process gave no result, with the reason."""


def within_limits(
    seconds: float,
    num_bytes: int,
    variables: Mapping[str, str],
    function: Callable[Arguments, Result],
    *arguments: Arguments.args,
    **keywords: Arguments.kwargs,
) -> Result:
    """Call a function of a module in a fresh process, and end it if it takes too much.

    Args:
        seconds: The time that the process may take, its start included.
        num_bytes: The memory that it may reserve.
        variables: Environment variables.
        function: The function, which gets all further arguments.

    Raises:
        Failure: If the function raises anything, or its process takes too much or crashes.
    """
    call = pickle.dumps((function, arguments, keywords))
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = _context().Process(target=_send, args=(sender, num_bytes, dict(variables), call))
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise Failure(f"not done after {seconds:g} s")
        result, failure = receiver.recv()
        process.join(EXIT_SECONDS)
    except EOFError:
        process.join()
        raise Failure(f"crashed with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    if failure is not None:
        raise Failure(failure)
    outcome: Result = result
    return outcome


def in_parallel(
    calls: Sequence[tuple[Callable[..., Result], Sequence[Any]]], num_workers: int
) -> Iterator[tuple[int, Result]]:
    """Make calls in processes of one thread; yield their numbers and results as they come.

    An error ends all calls.

    Args:
        calls: Functions of modules, each with its arguments.
        num_workers: The number of processes.
    """
    with ProcessPoolExecutor(num_workers, _context(), _use_one_thread) as executor:
        running: dict[Future[Result], int] = {}
        waiting = iter(enumerate(calls))
        try:
            while True:
                for number, (function, arguments) in waiting:
                    running[executor.submit(function, *arguments)] = number
                    if len(running) > num_workers:
                        break
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            executor.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _send(sender: Connection, num_bytes: int, variables: Mapping[str, str], call: bytes) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (num_bytes, num_bytes))
    try:
        sender.send((_run(variables, call), None))
    except MemoryError:
        sender.send((None, f"more than {num_bytes / 2**30:g} GiB"))
    except BaseException as error:  # Rust's panics are no Exception
        message = " ".join(str(error).split())
        sender.send((None, f"{type(error).__name__}: {message}"))


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # Capture needs this module, which takes seconds to import: the server does so once for all. It
    # must not import phew, because it would look in the current folder first, unlike a script.
    context.set_forkserver_preload(["torch._dynamo"])
    return context


def _run(variables: Mapping[str, str], call: bytes) -> Any:
    os.environ.update(variables)
    # This imports the function's module, and with it phew, after the environment is set.
    function, arguments, keywords = pickle.loads(call)
    return function(*arguments, **keywords)
