"""Fixtures: the loops, stepped by hand; the API behind a socket, and the stock client of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from orchestrator.db.database import Database
from tests.builders.live_api import Api, live_api
from tests.builders.stock_client import stock_client
from tests.builders.world import World


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    """The loops over `db`, with one base on one device."""
    return World(db, tmp_path)


@pytest.fixture
def served(db: Database, tmp_path: Path) -> Iterator[Api]:
    """The API over `db`, behind a socket."""
    with live_api(db, tmp_path) as running:
        yield running


@pytest.fixture
def client(served: Api) -> Iterator[OpenAI]:
    """The stock client, with the key of the tenant."""
    with stock_client(served) as opened:
        yield opened
