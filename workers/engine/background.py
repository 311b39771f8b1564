"""Background threads of the engine: one prepares new seats, one writes checkpoints and adapters."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class SynchronousExecutor(Executor):
    """Runs work at once in the caller's thread, for a host that is driven step by step."""

    def __init__(self, name: str = "inline") -> None:
        self.name = name

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`; the future is done when it returns."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # raised by `result()`, as with any executor
            future.set_exception(error)
        return future


def one_thread(name: str) -> Executor:
    """A thread that runs tasks one after another."""
    return ThreadPoolExecutor(1, thread_name_prefix=name)
