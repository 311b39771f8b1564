"""`orchard db …`: the database's schema, from the machine of a server."""

import typer

from api.cli.output import say
from api.cli.settings import DatabaseOption, database_of

db = typer.Typer(no_args_is_help=True, help="The database's schema (operator).")


@db.command("upgrade")
def upgrade(database_url: DatabaseOption = None) -> None:
    """Bring the database to the revision of this code. Safe to repeat, and while servers run."""
    from api.cli.database import at_work
    from orchestrator.db import migrate

    url = database_of(database_url)
    with at_work():
        before = migrate.revisions(url)
        migrate.upgrade(url)
    say(f"The database is at {before.wanted} (was: {before.found or 'empty'}).")


@db.command("check")
def check(database_url: DatabaseOption = None) -> None:
    """Say which revision the database has and which this code wants; fail when they differ."""
    from api.cli.database import require_current

    revision = require_current(database_of(database_url))
    say(f"The database is at {revision}, as this code wants it.")
