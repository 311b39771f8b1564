"""One tiny base for the whole session: it is read-only, so tests may share it."""

from pathlib import Path

import pytest

from tests.builders import specs
from tests.builders.s3_server import s3_bucket  # noqa: F401  # a fixture
from tests.builders.tiny_base import make_tiny_base
from workers.contract.base import BaseSpec
from workers.contract.lanes import Lane


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> BaseSpec:
    folder: Path = tmp_path_factory.mktemp("tiny-base")
    return make_tiny_base(folder)


@pytest.fixture(params=list(Lane))
def each_stepper(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lane:
    """Runs a test once with every way of training."""
    monkeypatch.setattr(specs, "default_lane", request.param)
    return request.param
