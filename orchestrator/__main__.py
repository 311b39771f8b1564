"""`python -m orchestrator`: the loops, until SIGTERM. It may be killed at any line; the next start goes on."""

import os
import signal
import sys
import threading
from collections.abc import Sequence

import structlog

from orchestrator.catalogue.entries import Catalogue, load_catalogue
from orchestrator.cluster.port import Cluster
from orchestrator.db.database import Database
from orchestrator.logs import configure_logs
from orchestrator.loops.control import Sequenced, Step, run_until
from orchestrator.loops.expire import ExpireFiles, ExpireUploads, ForgetKeys
from orchestrator.loops.heed import HeedWishes
from orchestrator.loops.hosts import TendHosts
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
from orchestrator.webhooks.send import Sender

HOUSEKEEPING_S = 60.0

log = structlog.get_logger()


def control_steps(db: Database, cluster: Cluster, catalogue: Catalogue, settings: Settings) -> Sequenced:
    """One pass of the control loop, in order."""
    applier = Applier(db, catalogue, settings.cache_dir, settings.lease_ttl_s)
    return Sequenced(
        (
            Validate(db),
            TendHosts(db, cluster, catalogue, settings.lease_ttl_s),
            HeedWishes(db),
            StopSeats(db, cluster),
            AttachSeats(db, cluster),
            Schedule(applier, settings.host_idle_s),
            Sweep(db),
        )
    )


def housekeeping(db: Database, registry: Registry, storage_uri: str) -> Sequenced:
    """What may wait for a minute."""
    return Sequenced((ExpireFiles(db), ExpireUploads(db, storage_uri), ForgetKeys(db), Retract(db, registry)))


def main() -> None:
    """Read the settings, start the loops, wait for a signal."""
    from orchestrator.cluster.ray import RayCluster
    from orchestrator.registry.mlflow_registry import MlflowRegistry

    configure_logs()
    settings = Settings()
    db = Database(settings.database_url.get_secret_value())
    catalogue = load_catalogue(settings.catalogue)
    cluster = RayCluster(settings.ray_address)
    registry = MlflowRegistry(settings.mlflow_uri)
    publish = Publish(db, registry, catalogue, settings.storage_uri, settings.public_url)
    webhooks = DeliverWebhooks(db, Sender(settings.webhook_reach), settings.vault)
    control = control_steps(db, cluster, catalogue, settings)

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    loops: list[tuple[str, Step, float]] = [
        ("control", control, settings.loop_interval_s),
        ("publish", Sequenced((publish,)), settings.loop_interval_s),
        ("webhooks", Sequenced((webhooks,)), settings.loop_interval_s),
        ("housekeeping", housekeeping(db, registry, settings.storage_uri), HOUSEKEEPING_S),
    ]
    log.info("orchestrator started", pid=os.getpid(), bases=[base.id for base in catalogue.bases])
    well = run_loops(loops, stop)
    db.dispose()
    log.info("orchestrator stopped", well=well)
    sys.exit(0 if well else 1)


def run_loops(loops: Sequence[tuple[str, Step, float]], stop: threading.Event) -> bool:
    """Run each (name, step, pause in seconds) in a thread of its own until `stop` is set.

    False: a loop ended by itself. The others are ended too, for whoever watches the process to start it whole again.
    """
    died: list[str] = []

    def run(name: str, step: Step, interval_s: float) -> None:
        try:
            run_until(stop, step, interval_s)
        finally:
            if not stop.is_set():
                died.append(name)
                log.error("loop died", loop=name)
                stop.set()

    threads = [threading.Thread(target=run, args=loop, name=loop[0]) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return not died


if __name__ == "__main__":
    main()
