"""Which layers run, and the stacks that the live one shares."""

import os
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests.builders.postgres import own_database
from tests.faults.rig import Rig, running_rig


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-faults", action="store_true", help="also the faults that need real workers and stacks")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all-faults", default=False):
        return
    skip = pytest.mark.skip(reason="run by `make faults`")
    for item in items:
        if item.path.parent.name == "faults" and item.get_closest_marker("live"):
            item.add_marker(skip)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A live stack over each database whose processes can be made to fail."""
    os.environ["RAY_AUTH_MODE"] = "token"
    folder = tmp_path_factory.mktemp("faults")
    if request.param == "sqlite":
        with running_rig(folder) as rig:
            yield rig
        return
    server: URL = request.getfixturevalue("postgres")
    with own_database(server, "faults") as url, running_rig(folder, url) as rig:
        yield rig


@pytest.fixture(autouse=True)
def _sound(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every fault: no rule broken, nothing armed, nothing leaked."""
    yield
    if "rig" in request.fixturenames:
        request.getfixturevalue("rig").check()
