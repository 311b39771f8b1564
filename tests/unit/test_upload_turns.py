"""Uploads take turns: a tenant with many leaves room for the others, and those that wait hold no thread."""

import threading
from collections.abc import Callable

import anyio
import anyio.to_thread

from api.upload_turns import UploadTurns


async def until(happened: Callable[[], bool]) -> None:
    with anyio.fail_after(30):
        while not happened():
            await anyio.sleep(0.001)


def test_one_tenants_uploads_leave_turns_and_threads_to_the_others() -> None:
    running: list[str] = []
    go_on = threading.Event()

    def work(tenant: str) -> str:
        running.append(tenant)
        go_on.wait()
        return tenant

    async def scene() -> None:
        turns = UploadTurns(4)
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(turns.run, "greedy", lambda: work("greedy"))
            await until(lambda: len(running) == 2)
            assert await turns.run("modest", lambda: "done") == "done"
            assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 2
            for tenant in ("b", "b", "c"):
                tasks.start_soon(turns.run, tenant, lambda tenant=tenant: work(tenant))
            await until(lambda: len(running) == 4)
            assert sorted(running) == ["b", "b", "greedy", "greedy"]
            go_on.set()
        assert len(running) == 53
        assert turns._tenants == {}, "who has no upload is forgotten"

    anyio.run(scene)


def test_an_upload_that_fails_gives_its_turn_back() -> None:
    def fail() -> None:
        raise LookupError

    async def scene() -> None:
        turns = UploadTurns(1)
        for _ in range(3):
            try:
                await turns.run("a", fail)
            except LookupError:
                continue
        assert await turns.run("a", lambda: 5) == 5

    anyio.run(scene)
