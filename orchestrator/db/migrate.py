"""Migrates a database to the newest revision, and tests whether it is current."""

from importlib.util import find_spec

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from orchestrator.db.database import Database

_LOCK_KEY = 0x0AC4A6D  # any constant: one upgrade at a time on PostgreSQL


def alembic_config() -> Config:
    """Alembic's configuration, wherever the `migrations` package is installed."""
    spec = find_spec("migrations")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the package `migrations` is not installed next to `orchestrator`")
    config = Config()
    config.set_main_option("script_location", spec.submodule_search_locations[0].replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate the database at `url`. Safe to repeat, and to run from several processes at once."""
    database = Database(url)
    config = alembic_config()
    try:
        with database.open_writer() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
    finally:
        database.dispose()


def is_current(engine: Engine) -> bool:
    """Whether the database is at the newest revision this code knows."""
    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == newest
