"""A state machine of submissions, wishes, reports and deaths: the real loops against a plain model of a job."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from sqlalchemy import delete

from orchestrator.db.columns import Base
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.errors import InvalidRequest
from orchestrator.jobs.cancel import cancel
from orchestrator.jobs.pause import pause, resume
from orchestrator.jobs.states import Desired, JobState
from orchestrator.jobs.views import JobView
from tests.builders.job_model import JobModel
from tests.builders.listed_registry import ListedRegistry, make_publish
from tests.builders.world import World, make_catalogue
from tests.integration.test_loops import submit
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass

MAX_JOBS = 5
SETTLED_AFTER = 40  # passes of a second at most: with four lost attempts in a row, pauses add up to 7 s
EXAMPLES = {"sqlite": 8, "postgresql": 3}
STEPS = 20

Verb = Callable[[Database, str, str, Any], JobView]


class JobMachine(RuleBasedStateMachine):
    """Rules do things at once; `settle` lets the loops work until every job is where its model is, or fails."""

    jobs = Bundle("jobs")

    def __init__(self, db: Database, folder: Path) -> None:
        super().__init__()
        with db.write() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))
        self.world = World(db, folder, make_catalogue("tiny", "other", devices=2, max_seats=MAX_JOBS))
        self.registry = ListedRegistry()
        self.models: dict[str, JobModel] = {}

    @precondition(lambda self: len(self.models) < MAX_JOBS)
    @rule(target=jobs, base=st.sampled_from(("tiny", "other")), user=st.integers(0, 1), infra=st.integers(0, 3))
    def submit(self, base: str, user: int, infra: int) -> str:
        limits = {"max_infra_retries": infra, "max_user_retries": user}
        job_id = submit(self.world, base_id=base, spec_changes={"max_runtime_s": 10**6}, **limits)
        self.models[job_id] = JobModel(base, infra, user)
        self.settle()
        return job_id

    @rule(job=jobs, steps=st.integers(1, 3), save=st.booleans())
    def train(self, job: str, steps: int, save: bool) -> None:
        if self.models[job].trains:
            host = self.world.host_of(job)
            host.step(job, steps)
            if save:
                host.checkpoint(job)
            self.models[job].train(steps, save)

    @rule(job=jobs)
    def finish(self, job: str) -> None:
        if self.models[job].trains:
            self.world.host_of(job).finish(job)
            self.models[job].told = "ok"

    @rule(job=jobs, fault=st.sampled_from(("user", "infra")))
    def fail(self, job: str, fault: str) -> None:
        if self.models[job].trains:
            code = ErrorCode.NON_FINITE_LOSS if fault == "user" else ErrorCode.STORAGE_UNAVAILABLE
            self.world.host_of(job).fail(job, code, ExitClass(fault))
            self.models[job].told = fault

    @rule(job=jobs)
    def kill_host(self, job: str) -> None:
        model = self.models[job]
        if model.where == "running" and not model.host_died:
            self.world.cluster.kill(self.world.attempts(job)[-1].host_id)
            for other in self.models.values():
                other.host_died |= other.base == model.base and other.where == "running"

    @rule(job=jobs)
    def pause(self, job: str) -> None:
        model = self.models[job]
        self._ask(pause, job, Desired.PAUSE, not model.over and model.desired is not Desired.CANCEL)

    @rule(job=jobs)
    def resume(self, job: str) -> None:
        model = self.models[job]
        self._ask(resume, job, Desired.RUN, not model.over and model.desired is not Desired.CANCEL)

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        self._ask(cancel, job, Desired.CANCEL, self.models[job].where not in ("succeeded", "failed"))

    @rule()
    def restart_orchestrator(self) -> None:
        self.world.restart_orchestrator()

    @rule(seconds=st.sampled_from((5, 50, 500)))
    def time_passes(self, seconds: int) -> None:
        self.settle()
        self.world.tick(seconds=seconds)

    @rule()
    def settle(self) -> None:
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

    def teardown(self) -> None:
        self.settle()

    def _ask(self, verb: Verb, job: str, desired: Desired, granted: bool) -> None:
        tenant_id = self.world.job(job).tenant_id
        if not granted:
            with pytest.raises(InvalidRequest):
                verb(self.world.db, tenant_id, job, self.world.now)
            return
        verb(self.world.db, tenant_id, job, self.world.now)
        if not self.models[job].over:
            self.models[job].desired = desired

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
