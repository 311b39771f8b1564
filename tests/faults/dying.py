"""A process that dies at a failpoint, within this one: an exception that no handler for errors catches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.registry.publish import Publish
from tests.builders.listed_registry import ListedRegistry
from tests.builders.world import World
from workers.contract.failpoints import hooked


class Died(BaseException):
    """As by `kill -9`: what is not committed is lost."""


@contextmanager
def dying_at(place: str) -> Iterator[list[str]]:
    """The first pass of `place` raises Died. Yields the list that proves it."""
    struck: list[str] = []

    def hook(name: str, _path: Path | None) -> None:
        if name == place and not struck:
            struck.append(name)
            raise Died(name)

    with hooked(hook):
        yield struck


class Town(World):
    """A world that also publishes, and whose orchestrator is replaced when it dies."""

    def __post_init__(self) -> None:
        self.registry = ListedRegistry()
        super().__post_init__()

    def restart_orchestrator(self) -> None:
        super().restart_orchestrator()
        self.publish = Publish(self.db, self.registry, self.catalogue, self.folder.as_uri())

    def live_on(self, seconds: float = 1) -> None:
        """Hosts do what they can, then one pass of everything; a death ends the pass."""
        for host_id in sorted(self.cluster.host_ids() if self.cluster.answers else ()):
            host = self.cluster.host(host_id)
            for job_id, seat in list(host.seats.items()):
                if seat.total_steps:
                    host.step(job_id, times=seat.total_steps - seat.step)
                    host.checkpoint(job_id)
                    host.finish(job_id)
                else:
                    host.prepare(job_id, total_steps=3)
        try:
            self.tick(seconds=seconds)
            self.publish.run_once(self.now)
        except Died:
            self.restart_orchestrator()

    def live_until_over(self, *job_ids: str, passes: int = 40, seconds: float = 5) -> None:
        """Until every job has ended. Fails when that takes too long."""
        for _ in range(passes):
            if all(self.job(job_id).finished_at for job_id in job_ids):
                return
            self.live_on(seconds)
        raise AssertionError({job_id: self.job(job_id).state for job_id in job_ids})
