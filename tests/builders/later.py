"""An executor that runs its work when the test calls `run()`."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Literal

from workers.engine.background import SynchronousExecutor


class Later(Executor):
    """Keeps what is submitted until `run()`."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Future[Any]]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: SynchronousExecutor().submit(fn, *args, **kwargs)))
        return future

    def run(self) -> int:
        """Run all tasks and return their number. Cancelled tasks are skipped."""
        done = 0
        for future, work in self.waiting:
            if future.set_running_or_notify_cancel():
                done += 1
                result = work()
                error = result.exception()
                if error is not None:
                    future.set_exception(error)
                else:
                    future.set_result(result.result())
        self.waiting.clear()
        return done

    def only(self, kind: Literal["ahead", "saver"]) -> Callable[[str, int], Executor]:
        """The `executor` of a host that defers this kind of work and does the rest at once."""
        return lambda name, threads: self if name == kind else SynchronousExecutor(name)
