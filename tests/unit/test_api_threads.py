"""What runs in a thread of the API: its answers, its errors, its context."""

import asyncio
import contextvars
import threading

import pytest

from api.threads import in_thread

asked: contextvars.ContextVar[str] = contextvars.ContextVar("asked")


def test_it_runs_elsewhere_with_the_context_of_who_asked() -> None:
    async def ask() -> tuple[str, int]:
        asked.set("by me")
        return await in_thread(lambda: (asked.get(), threading.get_ident()))

    context, thread = asyncio.run(ask())
    assert context == "by me"
    assert thread != threading.get_ident()


@pytest.mark.parametrize(("error", "told"), [(KeyError("gone"), KeyError), (StopIteration(), RuntimeError)])
def test_errors_arrive_and_none_leaves_its_caller_waiting(error: Exception, told: type[Exception]) -> None:
    def fail() -> None:
        raise error

    async def ask() -> None:
        async with asyncio.timeout(10):
            await in_thread(fail)

    with pytest.raises(told):
        asyncio.run(ask())
