"""Measurements in processes of their own, whose memory holds nothing of other measurements."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


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
    context = multiprocessing.get_context("forkserver")
    # Imported once for all; capture needs it. Not so phew, which the server, unlike a script, would
    # look for in the current directory first.
    context.set_forkserver_preload(["torch._dynamo"])
    call = pickle.dumps((function, arguments, keywords))
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        result: Result = executor.submit(_run, dict(variables), call).result()
        return result


def _run(variables: Mapping[str, str], call: bytes) -> Any:
    os.environ.update(variables)
    # Only now is phew imported, which the function's module imports.
    function, arguments, keywords = pickle.loads(call)
    return function(*arguments, **keywords)
