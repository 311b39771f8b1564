"""Tenants: they submit, retry a submission, cancel, pause and resume; the operator suspends them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import fsspec

from orchestrator.errors import ServiceError
from orchestrator.lifecycle.desired import cancel, pause, resume
from orchestrator.lifecycle.suspension import Suspension, resume_tenant, suspend
from orchestrator.submission.request import JobRequest
from orchestrator.submission.submit import SubmitDeps, submit
from orchestrator.tenancy.views import Tenant
from tests.builders.rows import make_file, make_tenant
from tests.simulation.faults import Died, Injected
from tests.simulation.storage import PREFIX
from tests.simulation.world import World
from workers.contract.errors import ErrorCode

ROWS = b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}\n' * 4


@dataclass
class Tenants:
    """Two tenants with a file each. `keys` maps each Idempotency-Key to the job ids it returned."""

    world: World
    keys: dict[str, set[str]] = field(default_factory=dict)
    _owners: dict[str, int] = field(default_factory=dict)
    unanswered: list[tuple[int, str, JobRequest]] = field(default_factory=list)

    def __post_init__(self) -> None:
        db = self.world.db
        self._desk = SubmitDeps(db, self.world.catalogue, PREFIX, 50)
        self._tenants, self._files = [], []
        for slug in ("acme", "zen"):
            row = make_tenant(db, slug)
            uri = f"{PREFIX}tenants/{row.id}/files/train"
            with fsspec.open(uri, "wb") as file:
                file.write(ROWS)
            self._tenants.append(Tenant(row.id, row.slug, row.name, None))
            self._files.append(make_file(db, row, uri=uri, rows=4).id)

    def act(self) -> None:
        """One action of one tenant."""
        rng = self.world.rng
        draw = rng.random()
        if draw < 0.45:
            self._submit_new()
        elif draw < 0.6 and self.unanswered:
            self._post(*self.unanswered.pop())
        elif draw < 0.85:
            self._set_desired(rng.choice((cancel, pause, resume, resume)))
        elif draw < 0.95:
            self._operate(rng.randrange(2), rng.random() < 0.4)

    def come_to_an_end(self) -> None:
        """End suspensions, retry unanswered submissions and resume every job."""
        for which in (0, 1):
            self._operate(which, suspends=False)
        while self.unanswered:
            self._post(*self.unanswered.pop())
        for job_id, which in self._owners.items():
            with suppress(ServiceError):  # it is over
                resume(self.world.db, self._tenants[which].id, job_id)

    def _operate(self, which: int, suspends: bool) -> None:
        """The operator suspends a tenant, or lets it go on."""
        world, tenant = self.world, self._tenants[which]
        with self._api():
            if suspends:
                suspend(world.db, tenant.id, Suspension(), world.now)
            else:
                resume_tenant(world.db, tenant.id)
            world.say(f"{tenant.slug} is {'suspended' if suspends else 'not suspended'}")

    def _submit_new(self) -> None:
        rng = self.world.rng
        which = rng.randrange(2)
        request = JobRequest.model_validate(
            {
                "model": rng.choice(("tiny", "tiny", "other")),
                "training_file": self._files[which],
                "seed": 1,
                "x_orchard": {"priority": rng.choice((0, 0, 5)), "max_runtime_s": 3_600},
            }
        )
        self._post(which, f"key-{len(self.keys)}", request)

    def _post(self, which: int, key: str, request: JobRequest) -> None:
        world = self.world
        self.keys.setdefault(key, set())
        world.role = "API"
        try:
            job_id = submit(self._desk, self._tenants[which], request, key, world.now)
        except (Died, Exception) as error:
            if not isinstance(error, Injected | ServiceError):
                raise
            if isinstance(error, ServiceError) and error.code == ErrorCode.BASE_UNUSABLE:
                world.say(f"POST {key} is refused: {error}")
                return
            world.say(f"POST {key} is not answered: {type(error).__name__} {error}")
            self.unanswered.append((which, key, request))
        else:
            self.keys[key].add(job_id)
            self._owners[job_id] = which
            world.say(f"POST {key} gives {job_id}")
        finally:
            world.role = "orchestrator"

    def _set_desired(self, action: Callable[..., object]) -> None:
        """Call `action` like the API, for one of the jobs whose id was returned."""
        world = self.world
        known = [(which, job_id) for job_id, which in sorted(self._owners.items())]
        if not known:
            return
        which, job_id = world.rng.choice(known)
        with self._api():
            action(world.db, self._tenants[which].id, job_id)
            world.say(f"{job_id}: tenant asks to {action.__name__}")

    @contextmanager
    def _api(self) -> Iterator[None]:
        """Act as the API; what it refuses, or a fault interrupts, is over."""
        self.world.role = "API"
        try:
            yield
        except (Died, Exception) as error:
            if not isinstance(error, Injected | ServiceError):
                raise
        finally:
            self.world.role = "orchestrator"
