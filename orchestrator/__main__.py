"""`python -m orchestrator`: runs the loops until SIGTERM. It may be killed at any line; the next start continues.

Several may run on one database: one holds the role and acts, the others stand by.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import structlog

from orchestrator.catalogue.document import CatalogueError
from orchestrator.catalogue.file import load_catalogue
from orchestrator.db.clock import DatabaseClock
from orchestrator.db.database import Database
from orchestrator.leadership.elector import Elector
from orchestrator.leadership.holder import this_process
from orchestrator.logs import configure_logs
from orchestrator.loops.composition import ROLE, World, all_loops
from orchestrator.loops.health import HealthServer, Passes
from orchestrator.loops.runner import run_loops
from orchestrator.settings import Settings, SettingsError, read_settings
from workers.contract.owned_folder import SCRATCH, remove_abandoned

log = structlog.get_logger()


def main() -> None:
    """Read the settings, start the loops, wait for a signal."""
    from orchestrator.cluster.ray import RayCluster
    from orchestrator.registry.mlflow_registry import MlflowRegistry

    configure_logs()
    try:
        settings = read_settings()
        catalogue = load_catalogue(settings.catalogue)
    except (SettingsError, CatalogueError) as error:
        sys.exit(str(error))
    db = Database(settings.database_url.get_secret_value())
    cluster = RayCluster(settings.ray_address, settings.ray_namespace)
    remove_abandoned(SCRATCH)  # adapters that a killed one was publishing
    world = World(cluster, MlflowRegistry(settings.mlflow_uri, settings.mlflow_public_url), catalogue, settings)
    role = Elector(db, ROLE, this_process(), ttl_s=settings.role_ttl_s)
    passes = Passes(all_loops(role, db, world))
    health = _serve_health(settings, lambda: passes.report(role))

    stop = threading.Event()

    def end() -> None:
        """In a thread of its own, since the loops go on meanwhile."""
        if settings.drain_s and role.grant is not None:
            world.shutdown.requested.set()
            saved = world.shutdown.wait(lambda: role.grant is not None, settings.drain_s)
            log.info("seats given up", all=saved)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=end, name="end").start())
    bases, port = [base.id for base in catalogue.bases], None if health is None else health.port
    log.info("orchestrator started", pid=os.getpid(), health_port=port, bases=bases)
    well = run_loops(passes.loops, stop, DatabaseClock(db))
    role.give_back()
    if health is not None:
        health.close()
    db.dispose()
    log.info("orchestrator stopped", well=well)
    sys.exit(0 if well else 1)


def _serve_health(settings: Settings, report: Callable[[], dict[str, Any]]) -> HealthServer | None:
    if settings.health_port is None:
        return None
    try:
        return HealthServer(settings.health_host, settings.health_port, report)
    except OSError as error:
        where = f"{settings.health_host}:{settings.health_port}"
        sys.exit(f"probes cannot listen on {where}: {error.strerror}; set ORCHARD_HEALTH_PORT (0: any free one)")


if __name__ == "__main__":
    main()
