"""Threads for queries, and for the endpoints that make them.

Uploads wait for storage in Starlette's own threads, so that many slow ones keep nobody's key from being looked up.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

THREADS: Final = 30  # as many as a pool of `orchestrator.db` has connections: one more would only wait for one
T = TypeVar("T")
_pool: Final = ThreadPoolExecutor(THREADS, thread_name_prefix="request")


async def in_thread(function: Callable[..., T], *given: Any, **named: Any) -> T:
    """`asyncio.to_thread`, whose own pool has hardly more threads than the machine has cores: ours wait for databases.

    It costs about half of Starlette's `run_in_threadpool`, which every request would pay twice.
    """
    call = partial(contextvars.copy_context().run, _without_stop, function, *given, **named)
    return await asyncio.get_running_loop().run_in_executor(_pool, call)


def _without_stop(function: Callable[..., T], *given: Any, **named: Any) -> T:
    try:
        return function(*given, **named)
    except StopIteration as error:  # no future can hold it: who waits would wait for ever
        raise RuntimeError("StopIteration left a function") from error
