"""`python -m orchestrator`: the loops, until SIGTERM. It may be killed at any line; the next start goes on.

Several may run on one database: one holds the role and acts, the others stand by.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from orchestrator.catalogue.entries import Catalogue, load_catalogue
from orchestrator.checkpoints.erase import EraseCheckpoints
from orchestrator.checkpoints.retain import RetainCheckpoints
from orchestrator.checkpoints.sweep import SweepAttempts
from orchestrator.cluster.port import Cluster
from orchestrator.db.clock import DatabaseClock
from orchestrator.db.database import Database
from orchestrator.files.sweep import SweepFiles
from orchestrator.leases.holder import this_process
from orchestrator.leases.role import ROUNDS_PER_TTL, Role
from orchestrator.logs import configure_logs
from orchestrator.loops.control import Sequenced, Step, run_until
from orchestrator.loops.expire import ExpireFiles, ForgetDeliveries, ForgetKeys
from orchestrator.loops.heed import HeedWishes
from orchestrator.loops.hosts import TendHosts
from orchestrator.loops.lead import KeepRole, Led
from orchestrator.loops.progress import Allowance
from orchestrator.loops.publish import Publish
from orchestrator.loops.retract import Retract
from orchestrator.loops.schedule import Schedule
from orchestrator.loops.seats import AttachSeats, StopSeats
from orchestrator.loops.sweep import Sweep
from orchestrator.loops.validate import Validate
from orchestrator.loops.webhooks import DeliverWebhooks
from orchestrator.registry.port import Registry
from orchestrator.scheduling.apply import Applier
from orchestrator.settings import Settings
from orchestrator.uploads.sweep import SweepUploads
from orchestrator.webhooks.send import Sender

HOUSEKEEPING_S: Final = 60.0
ROLE: Final = "loops"
"""One for all loops: whoever holds it polls, places, publishes and sweeps."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Loop:
    """A step, and the seconds between two passes of it."""

    name: str
    step: Step
    pause_s: float
    outlasts: bool = False
    """It goes on until all the others have ended."""


@dataclass(frozen=True)
class World:
    """What the loops act on, beside the database."""

    cluster: Cluster
    registry: Registry
    catalogue: Catalogue
    settings: Settings


def control_steps(db: Database, cluster: Cluster, catalogue: Catalogue, settings: Settings) -> Sequenced:
    """One pass of the control loop, in order."""
    applier = Applier(db, catalogue, settings.cache_dir, settings.lease_ttl_s, settings.host_trust_s)
    allowance = Allowance(settings.no_progress_s, settings.slow_phase_s)
    return Sequenced(
        (
            TendHosts(db, cluster, catalogue, settings.lease_ttl_s, allowance),
            HeedWishes(db),
            StopSeats(db, cluster),
            AttachSeats(db, cluster),
            Schedule(applier, settings.host_idle_s),
            Sweep(db),
        )
    )


def publishing(db: Database, world: World) -> Sequenced:
    """What may wait for the registry."""
    settings = world.settings
    return Sequenced((Publish(db, world.registry, world.catalogue, settings.storage_uri, settings.public_url),))


def webhooks(db: Database, world: World) -> Sequenced:
    """What may wait for tenants' servers."""
    return Sequenced((DeliverWebhooks(db, Sender(world.settings.webhook_reach), world.settings.vault),))


def housekeeping(db: Database, world: World) -> Sequenced:
    """What may wait for a minute."""
    uploads = SweepUploads(db, world.settings.storage_uri)
    return Sequenced((ExpireFiles(db), uploads, ForgetKeys(db), ForgetDeliveries(db), Retract(db, world.registry)))


def clearing(db: Database, settings: Settings) -> Sequenced:
    """What waits for storage: bytes that nobody needs any more."""
    retain, sweep = RetainCheckpoints(db, settings.keep_checkpoints), SweepAttempts(db, settings.leftovers_after_s)
    return Sequenced((retain, EraseCheckpoints(db), sweep, SweepFiles(db)))


def all_loops(role: Role, db: Database, world: World) -> list[Loop]:
    """Every loop of the process. All but the first act only while the process holds the role, so that one is kept
    until their last pass is over: nobody else begins what they are about.
    """
    settings = world.settings
    often_s = settings.loop_interval_s
    control = lambda led: control_steps(led, world.cluster, world.catalogue, settings)  # noqa: E731
    return [
        Loop("role", KeepRole(role), settings.role_ttl_s / ROUNDS_PER_TTL, outlasts=True),
        Loop("control", Led(role, db, control, pulse=role.pulse), often_s),
        Loop("validate", Led(role, db, lambda led: Sequenced((Validate(led),))), often_s),
        Loop("publish", Led(role, db, lambda led: publishing(led, world)), often_s),
        Loop("webhooks", Led(role, db, lambda led: webhooks(led, world)), often_s),
        Loop("housekeeping", Led(role, db, lambda led: housekeeping(led, world)), HOUSEKEEPING_S),
        Loop("clearing", Led(role, db, lambda led: clearing(led, settings)), HOUSEKEEPING_S),
    ]


def main() -> None:
    """Read the settings, start the loops, wait for a signal."""
    from orchestrator.cluster.ray import RayCluster
    from orchestrator.registry.mlflow_registry import MlflowRegistry

    configure_logs()
    settings = Settings()
    db = Database(settings.database_url.get_secret_value())
    cluster = RayCluster(settings.ray_address, settings.ray_namespace)
    world = World(cluster, MlflowRegistry(settings.mlflow_uri), load_catalogue(settings.catalogue), settings)
    role = Role(db, ROLE, this_process(), ttl_s=settings.role_ttl_s)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    log.info("orchestrator started", pid=os.getpid(), bases=[base.id for base in world.catalogue.bases])
    well = run_loops(all_loops(role, db, world), stop, DatabaseClock(db))
    role.give_back()
    db.dispose()
    log.info("orchestrator stopped", well=well)
    sys.exit(0 if well else 1)


def run_loops(loops: Sequence[Loop], stop: threading.Event, clock: Callable[[], datetime] | None = None) -> bool:
    """Run each in a thread of its own until `stop` is set, by the machine's clock unless another is given. Those that
    outlast the others go on until these have ended.

    False: a loop ended by itself. The others are ended too, for whoever watches the process to start it whole again.
    """
    died: list[str] = []
    alone = threading.Event()

    def run(loop: Loop) -> None:
        until = alone if loop.outlasts else stop
        try:
            run_until(until, loop.step, loop.pause_s, clock)
        finally:
            if not until.is_set():
                died.append(loop.name)
                log.error("loop died", loop=loop.name)
                stop.set()

    threads = {loop.name: threading.Thread(target=run, args=(loop,), name=loop.name) for loop in loops}
    for thread in threads.values():
        thread.start()
    for loop in sorted(loops, key=lambda loop: loop.outlasts):
        if loop.outlasts:
            alone.set()
        threads[loop.name].join()
    return not died


if __name__ == "__main__":
    main()
