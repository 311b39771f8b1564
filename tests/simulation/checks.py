"""Invariants after every pass and at the end, checked from outside against earlier observations."""

from dataclasses import dataclass, field

from sqlalchemy import text

from orchestrator.db.states import TERMINAL, JobState
from orchestrator.lifecycle.invariants import violations
from tests.simulation.hosts import TOTAL_STEPS, verifies
from tests.simulation.tenants import Tenants
from tests.simulation.world import Violation, World
from workers.contract.spec import CheckpointRef

JOBS = text("SELECT id, state, attempt, lease_token, step, adapter, registry_version FROM job")
SEATS = text("SELECT host_id, count(*), sum(memory_bytes) FROM attempt WHERE ended_at IS NULL GROUP BY host_id")
DEVICES = text("SELECT id, flavor, state, memory_bytes FROM host WHERE state <> 'gone'")
STALE_SEATS = text(
    "SELECT a.job_id FROM attempt a JOIN job j ON j.id = a.job_id WHERE a.ended_at IS NULL "
    "AND (j.attempt <> a.number OR j.lease_token IS NULL OR j.lease_token <> a.lease_token)"
)
STEPS = text("SELECT job_id, count(*) AS heard FROM event WHERE type = 'metrics' GROUP BY job_id")
BILLED = text(
    "SELECT j.id, sum(u.tokens - u.lost_tokens) AS tokens FROM usage u JOIN job j ON j.id = u.job_id "
    "WHERE j.state = 'succeeded' AND j.user_failures = 0 GROUP BY j.id"
)
CHECKPOINTS = text(
    "SELECT uri, step, manifest_sha256 FROM checkpoint WHERE job_id = :job AND attempt < :attempt AND state='committed'"
)
STEP_TOKENS = 64  # of a scripted host


@dataclass
class Checks:
    """Remembers what it observed of every job."""

    world: World
    tenants: Tenants
    _seen: dict[str, tuple[str, int]] = field(default_factory=dict)

    def after_pass(self) -> None:
        """Raises: Violation."""
        world = self.world
        if world.bugs:
            raise Violation(f"an error that no fault explains:\n{world.bugs[0]}")
        with world.db.engine.connect() as connection:
            self._jobs(connection)
            self._seats(connection)
            self._resumes(connection)
        for job_id, adapters in world.registry.adapters.items():
            _hold(len(adapters) == 1, f"{job_id} was published from {sorted(adapters)}")
        for key, ids in self.tenants.keys.items():
            _hold(len(ids) <= 1, f"{key} made {sorted(ids)}")

    def of_the_rows(self, *exempt: str) -> None:
        """Check the invariants of the rows. Raises: Violation."""
        with self.world.db.read() as session:
            broken = [each for each in violations(session, self.world.now) if each.name not in exempt]
        _hold(not broken, f"{broken}")

    def all_over(self) -> bool:
        """Whether every job seen has ended."""
        return all(JobState(state) in TERMINAL for state, _ in self._seen.values())

    def at_the_end(self) -> None:
        """Check that every job has ended, every seat is free and every host is gone. Raises: Violation."""
        world = self.world
        live = [job for job, (state, _) in self._seen.items() if JobState(state) not in TERMINAL]
        _hold(not live, f"{live} never ended")
        _hold({job for ids in self.tenants.keys.values() for job in ids} <= self._seen.keys(), "a job is gone")
        with world.db.engine.connect() as connection:
            _hold(not connection.execute(SEATS).all(), "attempts without an end")
            _hold(not connection.execute(DEVICES).all(), "hosts were not retired")
            twice = [row.job_id for row in connection.execute(STEPS) if row.heard > world.cluster.told[row.job_id]]
            _hold(not twice, f"reports of {twice} were applied twice")
            for job_id, tokens in connection.execute(BILLED):
                _hold(tokens == TOTAL_STEPS * STEP_TOKENS, f"{job_id} is billed {tokens} tokens")
            succeeded = [row for row in connection.execute(JOBS) if row.state == JobState.SUCCEEDED]
        for row in succeeded:
            made = world.registry.versions.get(row.id)
            _hold(made is not None and made.version == row.registry_version, f"{row.id} names a version not its own")
        _hold(not world.cluster.living(), "hosts live on in the cluster")

    def _jobs(self, connection) -> None:
        rows = connection.execute(JOBS).all()
        _hold(self._seen.keys() <= {row.id for row in rows}, "a job vanished")
        for row in rows:
            state, attempt = self._seen.get(row.id, (row.state, row.attempt))
            if JobState(state) in TERMINAL:
                _hold(row.state == state, f"{row.id} went from {state} to {row.state}")
            _hold(row.attempt >= attempt, f"{row.id} went from attempt {attempt} to {row.attempt}")
            if row.adapter is not None:
                _hold(f"/a{row.attempt}/" in row.adapter, f"{row.id}: the adapter is not of attempt {row.attempt}")
            if state != row.state:
                self.world.say(f"{row.id}: {state} -> {row.state} (attempt {row.attempt}, step {row.step})")
            self._seen[row.id] = (row.state, row.attempt)

    def _seats(self, connection) -> None:
        flavors = {flavor.name: flavor for flavor in self.world.catalogue.flavors}
        hosts = {row.id: row for row in connection.execute(DEVICES)}
        for name, flavor in flavors.items():
            held = [row.id for row in hosts.values() if row.flavor == name]
            _hold(len(held) <= flavor.count, f"{len(held)} hosts on {flavor.count} devices of {name}")
        for host_id, seats, claimed in connection.execute(SEATS):
            _hold(host_id in hosts, f"{seats} live attempts on {host_id}, which is gone")
            flavor = flavors[hosts[host_id].flavor]
            _hold(seats <= flavor.max_seats, f"{seats} attempts on the {flavor.max_seats} seats of {host_id}")
            _hold(claimed + hosts[host_id].memory_bytes <= flavor.memory_bytes, f"{host_id} is given too much memory")
        stale = connection.execute(STALE_SEATS).scalars().all()
        _hold(not stale, f"live attempts of {stale} that do not hold the job's lease")

    def _resumes(self, connection) -> None:
        """Every attempt started from the newest intact checkpoint."""
        for job_id, attempt, step, _ in self.world.cluster.resumed:
            rows = connection.execute(CHECKPOINTS, {"job": job_id, "attempt": attempt}).all()
            refs = [CheckpointRef(uri=uri, step=at, manifest_sha256=digest) for uri, at, digest in rows if at > step]
            faults, self.world.faults.on = self.world.faults.on, False
            better = [ref.uri for ref in refs if verifies(ref)]
            self.world.faults.on = faults
            _hold(not better, f"{job_id} attempt {attempt} resumed at {step}, though {better} were sound")
        self.world.cluster.resumed.clear()


def _hold(truth: bool, otherwise: str) -> None:
    if not truth:
        raise Violation(otherwise)
