"""What passes of the control loop cost: the planner's, and the whole, on a cluster whose hosts train nothing."""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from orchestrator.catalogue.entries import Catalogue
from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import JobState
from orchestrator.db.tables import TenantRow
from orchestrator.lifecycle.attempts import Seated, end_attempt
from orchestrator.lifecycle.retry_policy import AttemptEnd
from orchestrator.lifecycle.transition import JobRef
from orchestrator.loops.composition import control_steps
from orchestrator.scheduling.schedule import Schedule
from orchestrator.settings import Settings
from orchestrator.steps.step import Step
from tests.bench.control.percentiles import milliseconds
from tests.bench.control.rows import fill
from tests.builders.rows import NOW, make_job, make_tenant
from tests.builders.scripted_host import ScriptedHost
from tests.builders.world import make_catalogue
from workers.contract.reports import ExitClass

SEATS: Final = 64


@dataclass(frozen=True)
class Took:
    """Seconds: by the clock, and of the processor for this process alone, on which neighbours have less influence."""

    wall: float
    cpu: float


class Town:
    """A database, hosts that answer and train nothing, and the steps of the control loop over them."""

    def __init__(self, db: Database, folder: Path, catalogue: Catalogue) -> None:
        self.db, self.now = db, NOW
        self.cluster = InProcessCluster(lambda spec: ScriptedHost(spec, loading=False))
        settings = Settings(database_url="sqlite://", storage_uri=folder.as_uri(), catalogue=folder, cache_dir=folder)
        self.steps: tuple[Step, ...] = tuple(control_steps(db, self.cluster, catalogue, settings).steps)
        (self.planner,) = (step for step in self.steps if isinstance(step, Schedule))

    def run(self, *steps: Step) -> Took:
        """One pass of the steps, all by default."""
        self.now += timedelta(seconds=1)
        began, spent = time.perf_counter(), time.process_time()
        for step in steps or self.steps:
            step.run_once(self.now)
        return Took(time.perf_counter() - began, time.process_time() - spent)

    def warm_up(self, passes: int = 4) -> None:
        """Hosts start and load, lines are told why they wait, statements are compiled."""
        for _ in range(passes):
            self.run()

    def vacate(self) -> str:
        """One seated job ends, and makes room for one more. Returns its id."""
        seated = select(JobRow).where(JobRow.state.in_((JobState.ADMITTED, JobState.STARTING, JobState.RUNNING)))
        with self.db.write() as session:
            row = session.scalars(seated.where(JobRow.finished_at.is_(None)).order_by(JobRow.seq).limit(1)).one()
            end_attempt(session, Seated(row, JobRef.of(row)), AttemptEnd(ExitClass.USER, message="enough"), self.now)
        return row.id


@contextmanager
def town(url: str, seats: int = SEATS, hosts: int = 1) -> Iterator[Town]:
    """A `Town` over the database at `url`."""
    db = Database(url)
    with tempfile.TemporaryDirectory(prefix="orchard-bench-") as folder:
        yield Town(db, Path(folder), make_catalogue(devices=hosts, max_seats=seats))
    db.dispose()


def claim_figures(url: str, jobs: int) -> dict[str, Any]:
    """Admissions and attachments a second, until `jobs` queued jobs have a seat."""
    with town(url, seats=SEATS, hosts=-(-jobs // SEATS)) as place:
        tenant = make_tenant(place.db, "claims")
        for _ in range(jobs):
            make_job(place.db, JobState.QUEUED, tenant)
        passes, began = 0, time.perf_counter()
        while _count(place.db, JobState.STARTING) < jobs:
            place.run()
            passes += 1
        took = time.perf_counter() - began
    return {"jobs": jobs, "passes": passes, "claims_per_s": round(jobs / took, 1)}


def depth_figures(
    empty_url: str, full_url: str, queued: int, finished: int, repeats: int, tenants: int = 1
) -> dict[str, Any]:
    """Passes that find one free seat for the queue's head, by turns: among hardly any rows, and among very many.

    `claim`: the planner finds the seat and fills it. `loop`: every step of the control loop, doing the same.
    """
    with town(empty_url, seats=4) as empty, town(full_url, seats=4) as full:
        began = time.perf_counter()
        fill(full.db, queued, finished, tenants)
        filled_s = time.perf_counter() - began
        few = {place: _few(place) for place in (empty, full)}
        took: dict[tuple[Town, str], list[Took]] = defaultdict(list)
        for _ in range(repeats):
            for place, tenant in few.items():
                for what, steps in (("claim", (place.planner,)), ("loop", ())):
                    make_job(place.db, JobState.QUEUED, tenant)
                    place.vacate()
                    took[place, what].append(place.run(*steps))
    shallow, deep = ({what: _figures(took[place, what]) for what in ("claim", "loop")} for place in (empty, full))
    ratios = {what: round(deep[what]["p99_ms"] / shallow[what]["p99_ms"], 2) for what in deep}
    counts = {"queued": queued, "tenants": tenants, "finished": finished, "filled_in_s": round(filled_s, 1)}
    return counts | {"empty": shallow, "full": deep, "p99_ratio": ratios}


def _few(place: Town) -> TenantRow:
    """A tenant with as many jobs as there are seats; then passes until the place is warm."""
    tenant = make_tenant(place.db, "few")
    for _ in range(4):
        make_job(place.db, JobState.QUEUED, tenant)
    place.warm_up()
    return tenant


def _figures(passes: Sequence[Took]) -> dict[str, float]:
    cpu_ms = 1000 * statistics.median(took.cpu for took in passes)
    return milliseconds([took.wall for took in passes]) | {"cpu_p50_ms": round(cpu_ms, 3)}


def running_figures(url: str, jobs: int, repeats: int) -> dict[str, Any]:
    """A pass of the loop over `jobs` that train: hosts have a heartbeat of each, and once in ten passes a step."""
    with town(url, seats=SEATS, hosts=-(-jobs // SEATS)) as place:
        tenant = make_tenant(place.db, "running")
        for _ in range(jobs):
            make_job(place.db, JobState.QUEUED, tenant)
        while _count(place.db, JobState.STARTING) < jobs:
            place.run()
        _for_each_seat(place, lambda host, job: host.prepare(job, total_steps=10_000))
        place.run()
        quiet, busy = [], []
        for number in range(repeats):
            stepping = number % 10 == 0
            _for_each_seat(place, (lambda host, job: host.step(job)) if stepping else ScriptedHost.heartbeat)
            (busy if stepping else quiet).append(place.run())
    return {"jobs": jobs, "heartbeats_only": _figures(quiet), "every_job_stepped": _figures(busy)}


def _for_each_seat(place: Town, act: Any) -> None:
    with place.db.read() as session:
        live = select(AttemptRow.host_id, AttemptRow.job_id).where(AttemptRow.ended_at.is_(None))
        seats = session.execute(live).all()
    for host_id, job_id in seats:
        act(place.cluster.host(host_id), job_id)


def _count(db: Database, state: JobState) -> int:
    with db.read() as session:
        return len(session.scalars(select(JobRow.seq).where(JobRow.finished_at.is_(None), JobRow.state == state)).all())
