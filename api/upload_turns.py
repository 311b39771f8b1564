"""Turns of uploads: how many files are checked at once, and how many of one tenant.

Whoever waits holds no thread, so requests that need one for a moment are not held up.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from anyio import CapacityLimiter
from fastapi.concurrency import run_in_threadpool

T = TypeVar("T")


class UploadTurns:
    """At most `total` at once, and of one tenant half of them. Belongs to one event loop."""

    def __init__(self, total: int) -> None:
        self._of_one = max(1, total // 2)
        self._all = CapacityLimiter(total)
        self._tenants: dict[str, CapacityLimiter] = {}

    async def run(self, tenant_id: str, work: Callable[[], T]) -> T:
        """`work()` in a thread, once it is the tenant's turn."""
        async with self._turn(tenant_id), self._all:
            return await run_in_threadpool(work)

    @asynccontextmanager
    async def _turn(self, tenant_id: str) -> AsyncIterator[None]:
        own = self._tenants.setdefault(tenant_id, CapacityLimiter(self._of_one))
        try:
            async with own:
                yield
        finally:
            seen = own.statistics()
            if not seen.borrowed_tokens and not seen.tasks_waiting:
                self._tenants.pop(tenant_id, None)
