"""A state machine of submissions, wishes, reports and deaths: the real loops against a plain model of a job."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import delete

from orchestrator.db.columns import Base
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState
from orchestrator.errors import InvalidRequest
from orchestrator.lifecycle.desired import cancel, pause, resume
from tests.builders.job_model import JobModel
from tests.builders.listed_registry import ListedRegistry, make_publish
from tests.builders.world import World, make_catalogue
from tests.builders.world_jobs import submit
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass

MAX_JOBS = 5
SETTLED_AFTER = 40  # passes of a second at most: with four lost attempts in a row, pauses add up to 7 s
EXAMPLES = {"sqlite": 10, "postgresql": 4}
STEPS = 12

BASES = st.sampled_from(("tiny", "other"))
DESIRED = {"pause": Desired.PAUSE, "resume": Desired.RUN, "cancel": Desired.CANCEL}
HAPPENINGS = (
    "step",
    "step",
    "checkpoint",
    "infra",
    "pause",
    "pause",
    "resume",
    "resume",
    "host dies",
    "user",
    "ok",
    "cancel",
)
VERBS: dict[Desired, Callable[[Database, str, str], None]] = {
    Desired.PAUSE: pause,
    Desired.RUN: resume,
    Desired.CANCEL: cancel,
}


class JobMachine(RuleBasedStateMachine):
    """Rules do things at once; then the loops work until every job is where its model is."""

    def __init__(self, db: Database, folder: Path) -> None:
        super().__init__()
        with db.write() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))
        self.world = World(db, folder, make_catalogue("tiny", "other", devices=2, max_seats=MAX_JOBS))
        self.registry = ListedRegistry()
        self.models: dict[str, JobModel] = {}

    @initialize(bases=st.lists(BASES, min_size=2, max_size=3))
    def begin(self, bases: list[str]) -> None:
        for base in bases:
            self._submit(base, user=0, infra=2)
        self._settle()

    @rule(
        happenings=st.lists(st.tuples(st.sampled_from(HAPPENINGS), st.integers(0, MAX_JOBS)), min_size=3, max_size=6),
        newcomer=st.none() | BASES,
        restart=st.booleans(),
        pause_s=st.sampled_from((0, 0, 50, 500)),
    )
    def at_once(self, happenings: list[tuple[str, int]], newcomer: str | None, restart: bool, pause_s: int) -> None:
        """Several things happen before the loops look again, each to some job that is not over, or to one that is."""
        for what, number in happenings:
            alive = [job for job, model in self.models.items() if not model.over]
            jobs = (alive or list(self.models)) if number else list(self.models)
            self._happen(what, jobs[number % len(jobs)])
        if newcomer is not None and len(self.models) < MAX_JOBS:
            self._submit(newcomer, user=1, infra=len(self.models))
        if restart:
            self.world.restart_orchestrator()
        self._settle()
        if pause_s:
            self.world.tick(seconds=pause_s)

    def _submit(self, base: str, user: int, infra: int) -> None:
        limits = {"max_infra_retries": infra, "max_user_retries": user}
        job = submit(self.world, base_id=base, spec_changes={"max_runtime_s": 10**6}, **limits)
        self.models[job] = JobModel(base, **limits)

    def _happen(self, what: str, job: str) -> None:
        if what in DESIRED:
            self._ask(DESIRED[what], job)
        elif what == "host dies":
            self._kill_host(job)
        elif self.models[job].trains:
            self._report(what, job)

    def _report(self, what: str, job: str) -> None:
        model, host = self.models[job], self.world.host_of(job)
        if what in ("step", "checkpoint"):
            host.step(job, 2)
            if what == "checkpoint":
                host.checkpoint(job)
            model.train(2, save=what == "checkpoint")
        elif what == "ok":
            host.finish(job)
            model.told = "ok"
        else:
            code = ErrorCode.NON_FINITE_LOSS if what == "user" else ErrorCode.STORAGE_UNAVAILABLE
            host.fail(job, code, ExitClass(what))
            model.told = what

    def _kill_host(self, job: str) -> None:
        model = self.models[job]
        if model.where == "running" and not model.host_died:
            self.world.cluster.kill(self.world.attempts(job)[-1].host_id)
            for other in self.models.values():
                other.host_died |= other.base == model.base and other.where == "running"

    def _ask(self, desired: Desired, job: str) -> None:
        model, tenant_id = self.models[job], self.world.job(job).tenant_id
        if desired is Desired.CANCEL:
            granted = model.where not in ("succeeded", "failed")
        else:
            granted = not model.over and model.desired is not Desired.CANCEL
        if not granted:
            with pytest.raises(InvalidRequest):
                VERBS[desired](self.world.db, tenant_id, job)
            return
        VERBS[desired](self.world.db, tenant_id, job)
        model.desired = model.desired if model.over else desired

    def teardown(self) -> None:
        self._settle()

    def _settle(self) -> None:
        for model in self.models.values():
            model.settle()
        publish = make_publish(self.world, self.registry)
        for _ in range(SETTLED_AFTER):
            self.world.tick()
            publish.run_once(self.world.now)
            self.world.check()
            self._prepare_newcomers()
            if self._actual() == self._expected():
                break
        assert self._actual() == self._expected()
        succeeded = {job for job, model in self.models.items() if model.where == "succeeded"}
        assert set(self.registry.versions) == succeeded

    def _prepare_newcomers(self) -> None:
        for host_id in self.world.cluster.host_ids():
            host = self.world.cluster.host(host_id)
            for job_id in [job_id for job_id, seat in host.seats.items() if not seat.total_steps]:
                host.prepare(job_id)

    def _expected(self) -> dict[str, tuple[Any, ...]]:
        return {
            job: (model.where, model.step, model.saved, model.infra_failures, model.user_failures)
            for job, model in self.models.items()
        }

    def _actual(self) -> dict[str, tuple[Any, ...]]:
        return {job: _seen(self.world.job(job)) for job in self.models}


def _seen(row: JobRow) -> tuple[Any, ...]:
    return (JobState(row.state).value, row.step, row.reached_step, row.infra_failures, row.user_failures)


def test_jobs_do_what_a_plain_model_says_whatever_happens_to_them(db: Database, tmp_path: Path):
    quick = settings(
        max_examples=EXAMPLES[db.engine.dialect.name],
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: JobMachine(db, tmp_path), settings=quick)
