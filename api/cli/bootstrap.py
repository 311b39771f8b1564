"""The first admin key: made in the database, because no key exists yet that the API accepts."""

from datetime import UTC, datetime

from api.cli.database import at_work, require_current
from orchestrator.db.database import Database
from orchestrator.tenancy.keys import create_admin_key


def new_admin_key(database_url: str, name: str) -> str:
    """The secret of a new admin key, which exists nowhere else. Raises CliError, also for a schema of another age."""
    require_current(database_url)
    with at_work():
        db = Database(database_url)
        try:
            return create_admin_key(db, name, datetime.now(UTC))[1]
        finally:
            db.dispose()
