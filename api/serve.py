"""The API's process: `python -m api.serve`."""

import os
import random
import sys

import structlog
import uvicorn

from api.app import create_app
from api.bounded_protocol import server_options
from api.connections import ConnectionBounds
from api.descriptors import connections_for, descriptors_for, raise_descriptor_limit
from api.services import Services
from orchestrator.catalogue.document import CatalogueError
from orchestrator.catalogue.file import load_catalogue
from orchestrator.db.database import Database
from orchestrator.logs import configure_logs
from orchestrator.settings import Settings, SettingsError, read_settings

_log = structlog.get_logger("orchard.api")


def main() -> None:
    """Read the settings and serve until told to stop."""
    configure_logs()
    try:
        settings = read_settings()
        catalogue = load_catalogue(settings.catalogue)
    except (SettingsError, CatalogueError) as error:
        sys.exit(str(error))
    db = Database(settings.database_url.get_secret_value(), settings.statement_timeout_s)
    services = Services.of(settings, db, catalogue)
    if settings.one_core:  # after the services: files are checked by processes on all cores
        _stay_on_one_core()
    app = create_app(services)
    uvicorn.run(app, host=settings.host, port=settings.port, **server_options(_bounds(settings)))


def _bounds(settings: Settings) -> ConnectionBounds:
    """The bounds of connections, as many as the process may have descriptors for."""
    wanted = settings.max_connections
    allowed = connections_for(raise_descriptor_limit(descriptors_for(wanted)))
    if allowed < wanted:
        _log.warning("fewer connections: the limit of open files is low", max_connections=allowed, wanted=wanted)
    return ConnectionBounds(
        max_connections=min(wanted, allowed),
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        keep_alive_s=settings.keep_alive_s,
    )


def _stay_on_one_core() -> None:
    """Python computes on one core at a time. Where its threads wait on several, each query of one hands the
    interpreter's lock, and all that the caches hold, to another core: it cost up to half of the submissions a second.
    Replicas on one machine spread by chance. In a container the kernel or a scheduler hands out cores, so it has to be
    asked for.
    """
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {random.choice(sorted(os.sched_getaffinity(0)))})  # noqa: S311  # no secret


if __name__ == "__main__":
    main()
