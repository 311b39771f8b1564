"""Peers take turns on the same jobs, round after round, so that drift of the machine hits all of them."""

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tests.bench.peers import Peer, Run
from tests.bench.workloads import Job, shortened

WARM_UP_STEPS: Final = 2
Round = Mapping[str, Run]


def alternate(
    peers: Mapping[str, Peer], jobs: Sequence[Job], rounds: int, tell: Callable[[str], None] = lambda line: None
) -> list[Round]:
    """One short round to warm up, which does not count, then `rounds` rounds of every peer in order."""
    for name, peer in peers.items():
        peer.run(shortened(jobs, WARM_UP_STEPS))
        tell(f"{name}: warm")
    measured: list[Round] = []
    for number in range(1, rounds + 1):
        runs = {}
        for name, peer in peers.items():
            gc.collect()
            started = time.process_time()
            run = peer.run(jobs)
            runs[name] = replace(run, cpu_s=time.process_time() - started)
            tell(f"round {number} of {rounds}, {name}: {runs[name].train_s:.2f} s (load {os.getloadavg()[0]:.1f})")
        measured.append(runs)
    return measured
