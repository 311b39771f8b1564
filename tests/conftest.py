"""Fixtures of every tier: a fresh database for each test, on SQLite and on PostgreSQL.

`make check` and `make test` run the suite in two processes (`pytest -n 2 --dist loadgroup`). Each has a PostgreSQL
server, an S3 server and temporary folders of its own. What is machine-wide runs in one process, one test at a time: see
`tests.groups`. A plain `pytest` is one process.
"""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before torch is imported. Spinning threads starve their neighbours; and the products here are so small that a second
# thread costs more than it brings, the more so as two processes share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import structlog
from hypothesis import settings
from sqlalchemy import URL, create_engine, event

import orchestrator.db.effect_tables
import orchestrator.db.encoding_tables
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
from tests.builders.postgres import execute, own_database, running_postgres
from tests.builders.ray_cluster import ray_address  # noqa: F401  # likewise

settings.register_profile("suite", deadline=None)  # nothing is judged by how long it takes on a busy machine
settings.register_profile("thorough", deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

_TEMPLATE = "orchard_template"
_numbers = itertools.count(1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one group stay together, on xdist's controller; without `-n` nothing asks."""
    from tests.groups import ByGroup

    return ByGroup(config, log) if config.getoption("dist") == "loadgroup" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the whole matrix unless `-m` asks for it."""
    if "matrix" not in config.getoption("-m"):
        whole = [item for item in items if item.get_closest_marker("matrix")]
        config.hook.pytest_deselected(items=whole)
        items[:] = [item for item in items if not item.get_closest_marker("matrix")]


@pytest.fixture(autouse=True)
def _logs() -> None:
    """Logs as the processes write them, whatever a command that an earlier test ran in this process made of them."""
    structlog.reset_defaults()
    configure_logs()


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """A PostgreSQL server of this test session."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: URL) -> URL:
    """A database that holds the tables; copying it is quicker than making them again."""
    execute(postgres, f"CREATE DATABASE {_TEMPLATE}")
    engine = create_engine(postgres.set(database=_TEMPLATE))
    Base.metadata.create_all(engine)
    engine.dispose()
    return postgres


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file that holds the tables; copying it is quicker than making them again."""
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
    with own_database(server, f"orchard_{next(_numbers)}", _TEMPLATE) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database that holds nothing, once on each engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    server: URL = request.getfixturevalue("postgres")
    with own_database(server, "empty") as url:
        yield url


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """An open `Database` over `database_url`."""
    database = Database(database_url)
    if database.engine.dialect.name == "sqlite":
        event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    yield database
    database.dispose()


@pytest.fixture
def sqlite_db(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """An open database on SQLite alone, for tests that walk many cases."""
    path = tmp_path / "orchard.sqlite"
    shutil.copyfile(sqlite_template, path)
    database = Database(f"sqlite:///{path}")
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
