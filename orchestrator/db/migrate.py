"""Migrates a database to the newest revision, and tests whether it is current."""

from dataclasses import dataclass
from importlib.util import find_spec

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from orchestrator.db.database import Database

_LOCK_KEY = 0x0AC4A6D  # any constant: one upgrade at a time on PostgreSQL


class UnusableUrl(Exception):
    """The URL names no database that this code can work with."""


class UnknownRevision(Exception):
    """The database is at a revision that this code does not know: newer code made it."""


@dataclass(frozen=True)
class Revisions:
    """Where a database is, and where this code wants it."""

    found: str | None
    """None: it holds no schema of ours."""
    wanted: str

    @property
    def current(self) -> bool:
        """Whether nothing is to be done."""
        return self.found == self.wanted


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
    """Migrate the database at `url`. Safe to repeat, and to run from several processes at once.

    Raises: UnusableUrl, UnknownRevision.
    """
    database = _open(url)
    config = alembic_config()
    try:
        with database.open_writer() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise UnknownRevision(str(error)) from error
            connection.commit()
    finally:
        database.dispose()


def revisions(url: str) -> Revisions:
    """Ask the database at `url`. Raises: UnusableUrl."""
    database = _open(url)
    try:
        return _revisions(database.engine)
    finally:
        database.dispose()


def is_current(engine: Engine) -> bool:
    """Whether the database is at the newest revision this code knows."""
    return _revisions(engine).current


def _revisions(engine: Engine) -> Revisions:
    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    if newest is None:
        raise ModuleNotFoundError("the package `migrations` holds no revision")
    with engine.connect() as connection:
        return Revisions(MigrationContext.configure(connection).get_current_revision(), newest)


def _open(url: str) -> Database:
    try:
        return Database(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise UnusableUrl(f"the database URL cannot be used: {error}") from error
