"""Where the time of a peer's steps goes."""

from collections.abc import Sequence
from typing import Any

from tests.bench.peers import Peer
from tests.bench.workloads import Job


def profile_phases(peer: Peer, jobs: Sequence[Job]) -> dict[str, Any]:
    raise NotImplementedError
