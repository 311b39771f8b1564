"""The first admin key: made in the database, because no key exists yet that the API accepts."""

from datetime import UTC, datetime

from api.cli.commands.db import behind
from api.cli.database import at_work
from orchestrator.db.database import Database
from orchestrator.db.migrate import revisions
from orchestrator.tenancy.keys import create_admin_key


def new_admin_key(database_url: str, name: str) -> str:
    """The secret of a new admin key, which exists nowhere else. Raises CliError, also for a schema of another age."""
    with at_work():
        found = revisions(database_url)
        if not found.current:
            raise behind(found.found, found.wanted)
        db = Database(database_url)
        try:
            return create_admin_key(db, name, datetime.now(UTC))[1]
        finally:
            db.dispose()
