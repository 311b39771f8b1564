"""The world of one schedule: the loops over a faulty database, cluster, storage and registry, in virtual time."""

import itertools
import random
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

import structlog

from orchestrator.catalogue.entries import Catalogue
from orchestrator.leadership.elector import Elector
from orchestrator.lifecycle.drain import Shutdown
from orchestrator.loops.composition import HOUSEKEEPING_S, ROLE, all_loops
from orchestrator.loops.composition import World as Outside
from orchestrator.registry.port import Publication, Registered
from orchestrator.settings import Settings
from orchestrator.steps.step import Step
from tests.builders.rows import NOW
from tests.builders.world import make_catalogue
from tests.simulation.database import database
from tests.simulation.faults import Died, Faults, Injected, RegistryAway
from tests.simulation.hosts import SimCluster
from tests.simulation.storage import PREFIX, SimStorage
from workers.contract import failpoints

LEASE_TTL_S = 60
HOST_IDLE_S = 300
MAX_BYPASS_S = 30


class Violation(AssertionError):
    """The product broke an invariant."""


class SimRegistry:
    """Idempotent like the real one: the same job gets the same version, even if an earlier answer was lost."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.versions: dict[str, Registered] = {}
        self.adapters: dict[str, set[str]] = {}

    def publish(self, publication: Publication, adapter_folder: Path) -> Registered:
        if self._faults.strike("registry away", 5):
            raise RegistryAway
        version = str(len(self.versions) + 1)
        made = self.versions.setdefault(
            publication.job_id, Registered(publication.name, version, f"run-{version}", f"m-{version}")
        )
        self.adapters.setdefault(publication.job_id, set()).add(publication.manifest.uri)
        if self._faults.strike("registry's answer lost", 5):
            raise RegistryAway
        return made

    def unpublish(self, tenant_slug: str, name: str, version: str, deleted_at: datetime) -> None:
        """No model is deleted in the simulation."""


class Orchestrator:
    """One process: its role, and the loops that run while it holds the role. Its memory is lost when it dies."""

    def __init__(self, world: "World") -> None:
        self.name = f"process-{next(world.names)}"
        ticks = lambda: (world.now - NOW).total_seconds()  # noqa: E731, PLW0108  # reads `now` at each call
        self.role = Elector(world.db, ROLE, self.name, ttl_s=world.settings.role_ttl_s, ticks=ticks)
        self.shutdown = Shutdown()
        self._loops = all_loops(self.role, world.db, replace(world.outside, shutdown=self.shutdown))
        self._rng = world.rng

    @property
    def steps(self) -> list[Step]:
        """The loops of the next pass, one after another; in production each has a thread."""
        seldom = self._rng.random() < 0.2
        return [loop.step for loop in self._loops if seldom or loop.pause_s < HOUSEKEEPING_S]


class World:
    """`live` runs the world between two passes; `tick` is one pass of an orchestrator."""

    def __init__(self, seed: int) -> None:
        self.faults = Faults(seed)
        self.rng = self.faults.rng
        self.now = NOW
        self.trace: list[str] = []
        self.bugs: list[str] = []
        self.names, self.dead = itertools.count(1), set()
        self.db = database()
        self.db.reset(self.faults, lambda: self.now)
        SimStorage.reset(self.faults)
        self.catalogue: Catalogue = make_catalogue("tiny", "other", devices=self.rng.choice((1, 2)), max_seats=2)
        self.settings = Settings(
            database_url="sqlite://",
            storage_uri=PREFIX,
            catalogue=Path(),
            cache_dir=Path(),
            lease_ttl_s=LEASE_TTL_S,
            host_idle_s=HOST_IDLE_S,
            max_bypass_s=MAX_BYPASS_S,
        )
        self.cluster = SimCluster(self.faults, lambda: self.now)
        self.registry = SimRegistry(self.faults)
        self.outside = Outside(self.cluster, self.registry, self.catalogue, self.settings)
        self.role = "orchestrator"
        self._nested = False
        self.orchestrators = [Orchestrator(self), Orchestrator(self)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Draws ids from the seed, arms failpoints that kill, and records errors that loops swallow."""
        with ExitStack() as stack:
            stack.enter_context(patch("orchestrator.ids.secrets", _SeededSecrets(self.rng)))
            stack.enter_context(patch("orchestrator.leadership.lease.is_dead", self.dead.__contains__))
            stack.enter_context(failpoints.hooked(self._pass_failpoint))
            before = structlog.get_config()
            structlog.configure(processors=[self._hear], cache_logger_on_first_use=False)
            stack.callback(structlog.configure, **before)
            yield

    def say(self, what: str) -> None:
        self.trace.append(f"{(self.now - NOW).total_seconds():8.0f} {what}")

    def advance(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def live(self) -> None:
        """Advance the machines; corrupt bytes."""
        if self.faults.strike("byte flipped", 2):
            if SimStorage.rot("/step-"):
                self.say("a byte of a checkpoint flips")
            else:
                self.faults.counts["byte flipped"] -= 1
        self.cluster.work()

    def tick(self, which: int = 0) -> None:
        """One pass of one orchestrator. If it dies, a new one replaces it."""
        acting = self.orchestrators[which]
        for step in acting.steps:
            try:
                step.run_once(self.now)
            except Died as death:
                self.say(f"{acting.name} dies {death}")
                self._mark_gone(which)
                return
            except Exception as error:  # noqa: BLE001  # distinguished from faults
                self._judge(error)

    def stop_as_planned(self) -> None:
        """The acting orchestrator is told to stop; it saves every seat first, unless that takes too long."""
        self.say(f"{self.orchestrators[0].name} is told to stop")
        self.orchestrators[0].shutdown.requested.set()

    def restart_stopped(self, patience: float = 0.6) -> None:
        """Replace an orchestrator that was told to stop, once it is done or is waited for no longer."""
        stopping = self.orchestrators[0]
        done = stopping.shutdown.done.is_set()
        if done or (stopping.shutdown.requested.is_set() and self.rng.random() >= patience):
            self.say(f"{stopping.name} has stopped{'' if done else ' too early'}")
            with suppress(Died):
                stopping.role.give_back()
            self.orchestrators[0] = Orchestrator(self)

    def _mark_gone(self, which: int) -> None:
        """Replace the process with another, which may be able to tell that the old one is dead."""
        if self.rng.random() < 0.7:
            self.dead.add(self.orchestrators[which].name)
        self.orchestrators[which] = Orchestrator(self)

    def _pass_failpoint(self, name: str, _path: Path | None) -> None:
        """A process may die here, or hang while another takes over."""
        if self.role == "API":
            if self.faults.strike("API dies"):
                raise Died(f"at {name}")
            return
        if self.faults.strike("orchestrator dies", 0.3):
            raise Died(f"at {name}")
        if not self.db.condition.depth and not self._nested and self.faults.strike("another orchestrator acts"):
            self.say(f"an orchestrator hangs at {name} while another runs")
            self._nested = True
            try:
                for _ in range(self.rng.choice((1, 4))):
                    self.advance(self.rng.choice((1, LEASE_TTL_S)))
                    self.live()
                    self.tick(1)
            finally:
                self._nested = False

    def _hear(self, _logger, method: str, event):
        error = sys.exc_info()[1]
        self.trace.append(f"         {method}: " + " ".join(f"{k}={v}" for k, v in event.items() if k != "exc_info"))
        if event.get("exc_info") and error is not None:
            self._judge(error)
        raise structlog.DropEvent

    def _judge(self, error: BaseException) -> None:
        """An error that no fault caused is a bug, even if the loop survives it."""
        if not _is_injected(error):
            self.bugs.append("".join(traceback.format_exception(error)))


def _is_injected(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, Injected):
            return True
        error = error.__cause__ or error.__context__
    return False


class _SeededSecrets:
    """Ids from the seed, so that a schedule repeats exactly."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def token_hex(self, count: int) -> str:
        return self._rng.randbytes(count).hex()
