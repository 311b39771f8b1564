"""Background threads of the engine: some prepare new seats, one writes checkpoints and adapters."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class SynchronousExecutor(Executor):
    """Runs work at once in the caller's thread, for a host that is driven step by step."""

    def __init__(self, name: str = "inline", threads: int = 1) -> None:
        self.name = name

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`; the future is done when it returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # raised by `result()`, as with any executor
            future.set_exception(error)
        return future


def in_threads(name: str, threads: int) -> Executor:
    """Threads that run tasks in order of arrival. They start as they are needed."""
    return ThreadPoolExecutor(threads, thread_name_prefix=name)
