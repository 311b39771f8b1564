"""Threads for queries, and for the endpoints that make them.

Uploads wait for storage in Starlette's own threads, so that slow uploads do not delay key lookups.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

THREADS: Final = 30  # the connections of an `orchestrator.db` pool: more threads would only wait for one
T = TypeVar("T")
_pool: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="request")


async def in_thread(function: Callable[..., T], *given: Any, **named: Any) -> T:
    """`asyncio.to_thread` with a larger pool: the default has about one thread per core, but these wait for databases.

    It costs about half of Starlette's `run_in_threadpool`, which every request would pay twice.
    """
    call = partial(contextvars.copy_context().run, _without_stop, function, *given, **named)
    return await asyncio.get_running_loop().run_in_executor(_pool, call)


def _without_stop(function: Callable[..., T], *given: Any, **named: Any) -> T:
    try:
        return function(*given, **named)
    except StopIteration as error:  # a future cannot hold it: the caller would wait forever
        raise RuntimeError("StopIteration left a function") from error
