"""Peak memory (R5), each peer in a fresh process, sampled while it trains: loading and quantizing do not count."""

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

import psutil
import torch

from tests.bench.options import add_subject, chosen_subjects
from tests.bench.peers import make_peer
from tests.bench.workloads import shortened

STEPS: Final = 2
INTERVAL_S: Final = 0.005


class PeakSampler:
    """The largest resident set seen while the block ran, in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakSampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self._process.memory_info().rss)
            if self._done.wait(INTERVAL_S):
                return


def compare_memory(subject: str, workload: str, given: argparse.Namespace) -> dict[str, Any]:
    """`subject` training all jobs at once, beside as many processes as there are jobs, each with a base of its own."""
    together = _measure_apart(subject, workload, given, alone=False)
    alone = _measure_apart("sequential", workload, given, alone=True)
    separate = alone["peak_bytes"] * together["jobs"]
    return {
        "peak_bytes": together["peak_bytes"],
        "before_training_bytes": together["before_bytes"],
        "one_job_process_bytes": alone["peak_bytes"],
        "times_less_than_separate": round(separate / together["peak_bytes"], 2),
    }


def _measure_apart(peer: str, workload: str, given: argparse.Namespace, *, alone: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.memory", "--peer", peer, "--workload", workload]
    for name in ("base", "quant", "compute", "jobs", "tokens", "supervised", "threads"):
        if (value := getattr(given, name)) is not None:
            command += [f"--{name}", str(value)]
    done = subprocess.run([*command, *(["--alone"] if alone else [])], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {peer} failed:\n{done.stderr[-4000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a few steps of one peer and print its peak."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    add_subject(parser)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--alone", action="store_true", help="the largest job of the workload only")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    (subject,) = chosen_subjects(given)
    jobs = shortened(subject.jobs, STEPS)
    if given.alone:
        jobs = [max(jobs, key=lambda job: job.tokens)]
    peer = make_peer(given.peer, subject.host)
    before = psutil.Process().memory_info().rss
    with PeakSampler() as sampler:
        peer.run(jobs)
    print(json.dumps({"peak_bytes": sampler.peak, "before_bytes": before, "jobs": len(jobs)}))


if __name__ == "__main__":
    main()
