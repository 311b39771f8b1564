"""Fixtures of the tests that step the loops by hand."""

from pathlib import Path

import pytest

from orchestrator.db.database import Database
from tests.builders.world import World


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    """The loops over `db`, with one base on one device."""
    return World(db, tmp_path)
