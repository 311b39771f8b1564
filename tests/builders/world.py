"""`World`: the control loop over a real database and scripted hosts, stepped by hand through virtual time."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from orchestrator.catalogue.entries import Catalogue, CatalogueBase, Flavor
from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, EventRow, JobRow
from orchestrator.db.tables import HostRow
from orchestrator.lifecycle.invariants import violations
from orchestrator.loops.composition import control_steps, encoding
from orchestrator.settings import Settings
from orchestrator.steps.step import Counts
from orchestrator.submission.validate import Validate
from tests.builders.rows import NOW
from tests.builders.scripted_encoder import ScriptedEncoder
from tests.builders.scripted_host import ScriptedHost
from tests.builders.specs import make_base_spec
from workers.contract.base import Quantization

GB = 10**9


def make_catalogue(*bases: str, devices: int = 1, max_seats: int = 4) -> Catalogue:
    """Tiny bases (`tiny` by default) on one flavor `cpu`."""
    entries = tuple(
        CatalogueBase(
            spec=make_base_spec(base),
            license="apache-2.0",
            quantizations=(Quantization.NONE, Quantization.NF4),
            max_seq_len=256,
        )
        for base in bases or ("tiny",)
    )
    flavor = Flavor(name="cpu", memory_bytes=8 * GB, count=devices, max_seats=max_seats)
    return Catalogue(bases=entries, flavors=(flavor,))


@dataclass
class World:
    """Everything a control loop needs. `tick` is one pass; time moves only when a test says so.

    After every pass the invariants of `orchestrator.lifecycle.invariants` must hold.
    """

    db: Database
    folder: Path
    catalogue: Catalogue = field(default_factory=make_catalogue)
    now: datetime = NOW
    encodes_at_once: bool = True

    def make_encoder(self) -> ScriptedEncoder:
        """A new encoder; `encoder` is the newest."""
        self.encoder = ScriptedEncoder(prompt=self.encodes_at_once)
        return self.encoder

    def __post_init__(self) -> None:
        self.cluster = InProcessCluster(lambda spec: ScriptedHost(spec, loading=False), make_encoder=self.make_encoder)
        self.restart_orchestrator()

    def restart_orchestrator(self) -> None:
        """What survives `kill -9` of an orchestrator: the database and the cluster."""
        settings = Settings(
            database_url="sqlite://", storage_uri=self.folder.as_uri(), catalogue=self.folder, cache_dir=self.folder
        )
        self.before_queue = (
            Validate(self.db, settings.storage_uri),
            *encoding(self.db, self.cluster, settings).steps,
        )
        self.steps = (*self.before_queue, *control_steps(self.db, self.cluster, self.catalogue, settings).steps)

    def tick(self, times: int = 1, seconds: float = 1) -> Counts:
        """Run `times` passes, `seconds` apart, and return the last one's result. An error in a step fails the test."""
        counts = Counts()
        for _ in range(times):
            self.now += timedelta(seconds=seconds)
            counts = Counts()
            for step in self.steps:
                counts += step.run_once(self.now)
            self.check()
        return counts

    def check(self) -> None:
        """Check every invariant."""
        with self.db.read() as session:
            assert violations(session, self.now) == []

    def job(self, job_id: str) -> JobRow:
        with self.db.read() as session:
            return session.scalars(select(JobRow).where(JobRow.id == job_id)).one()

    def messages(self, job_id: str) -> list[str]:
        with self.db.read() as session:
            return list(
                session.scalars(select(EventRow.message).where(EventRow.job_id == job_id).order_by(EventRow.seq))
            )

    def attempts(self, job_id: str) -> list[AttemptRow]:
        with self.db.read() as session:
            query = select(AttemptRow).where(AttemptRow.job_id == job_id).order_by(AttemptRow.number)
            return list(session.scalars(query))

    def hosts(self) -> list[HostRow]:
        with self.db.read() as session:
            return list(session.scalars(select(HostRow).order_by(HostRow.created_at, HostRow.id)))

    def host_of(self, job_id: str) -> ScriptedHost:
        """The live host of the job's current attempt."""
        return self.cluster.host(self.attempts(job_id)[-1].host_id)
