"""The API's process: `python -m api.serve`."""

import os
import random
import sys

import uvicorn

from api.app import create_app
from api.services import Services
from orchestrator.catalogue.document import CatalogueError
from orchestrator.catalogue.file import load_catalogue
from orchestrator.db.database import Database
from orchestrator.logs import configure_logs
from orchestrator.settings import SettingsError, read_settings

SHUTDOWN_S = 10  # event streams have no end of their own


def main() -> None:
    """Read the settings and serve until told to stop."""
    configure_logs()
    try:
        settings = read_settings()
        catalogue = load_catalogue(settings.catalogue)
    except (SettingsError, CatalogueError) as error:
        sys.exit(str(error))
    if settings.one_core:
        _stay_on_one_core()
    db = Database(settings.database_url.get_secret_value(), settings.statement_timeout_s)
    app = create_app(Services.of(settings, db, catalogue))
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
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
