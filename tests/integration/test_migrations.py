"""The migrations build what the tables say, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, inspect

from orchestrator.db.columns import Base
from orchestrator.db.database import Database
from orchestrator.db.migrate import alembic_config, is_current, upgrade
from tests.builders.postgres import own_database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.sqlite'}"
        return
    server: URL = request.getfixturevalue("postgres")
    with own_database(server, "empty") as url:
        yield url


def test_the_newest_revision_equals_the_tables(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    with db.engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    db.dispose()
    assert difference == []


def test_upgrading_twice_changes_nothing_and_readiness_knows(empty_url: str):
    db = Database(empty_url)
    assert not is_current(db.engine)
    upgrade(empty_url)
    upgrade(empty_url)
    assert is_current(db.engine)
    db.dispose()


def test_every_migration_can_be_taken_back(empty_url: str):
    upgrade(empty_url)
    db = Database(empty_url)
    config = alembic_config()
    with db.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        connection.commit()
        left = set(inspect(connection).get_table_names()) - {"alembic_version"}
    db.dispose()
    assert left == set()
