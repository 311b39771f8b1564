"""One tiny base for the whole session: it is only read."""

import pytest

from tests.builders.tiny_base import make_tiny_base
from workers.contract.base import BaseSpec


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> BaseSpec:
    return make_tiny_base(tmp_path_factory.mktemp("tiny-base"))
