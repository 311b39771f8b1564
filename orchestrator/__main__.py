"""`python -m orchestrator`: the loops, until SIGTERM. It may be killed at any line; the next start goes on.

Several may run on one database: one holds the role and acts, the others stand by.
"""

import os
import signal
import sys
import threading

import structlog

from orchestrator.catalogue.file import load_catalogue
from orchestrator.db.clock import DatabaseClock
from orchestrator.db.database import Database
from orchestrator.leadership.elector import Role
from orchestrator.leadership.holder import this_process
from orchestrator.logs import configure_logs
from orchestrator.loops.composition import ROLE, World, all_loops
from orchestrator.loops.runner import run_loops
from orchestrator.settings import Settings

log = structlog.get_logger()


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


if __name__ == "__main__":
    main()
