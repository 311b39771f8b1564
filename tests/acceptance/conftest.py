"""One embedded stack for the tests that leave it as they found it."""

from collections.abc import Iterator

import pytest

from tests.builders.live_stack import LiveStack, live_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """Ray, MLflow, the API and the orchestrator, with a tiny base on one device. Ended before other modules begin."""
    with live_stack(tmp_path_factory.mktemp("stack")) as live:
        yield live
