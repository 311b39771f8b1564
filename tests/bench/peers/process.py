"""A cold process for every job: TRL's SFTTrainer, PEFT, bitsandbytes, what most people run today.

Only a few jobs are really run, evenly spread over the workload; the rest is extrapolated: start-up by the mean,
training by tokens. The notes say so.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.peers.peer import Run
from tests.bench.peers.stock import labels_of
from tests.bench.workloads import Job
from workers.bases import LoadedBase
from workers.bases.sources import locate
from workers.contract.spec import HostSpec

SAMPLED: Final = 2
TIMEOUT_S: Final = 1800


class ProcessPeer:
    """Starts one process after the other."""

    base: LoadedBase | None = None

    def __init__(self, spec: HostSpec) -> None:
        self._spec = spec
        self._folder = locate(spec.base, Path(spec.cache_dir)).folder

    def run(self, jobs: Sequence[Job]) -> Run:
        """See `Peer.run`. `attach_s` is everything but training: imports, loading, quantizing, saving."""
        few = [jobs[index * (len(jobs) - 1) // max(SAMPLED - 1, 1)] for index in range(min(SAMPLED, len(jobs)))]
        walls, trained, reports = [], [], []
        for job in few:
            started = time.perf_counter()
            reports.append(self._train(job))
            walls.append(time.perf_counter() - started)
            trained.append(float(reports[-1]["train_s"]))
        start_up = len(jobs) * (sum(walls) - sum(trained)) / len(few)
        training = sum(trained) * sum(job.tokens for job in jobs) / sum(job.tokens for job in few)
        notes = {"extrapolated_from_jobs": len(few), "cold_s_per_job": walls, "trainer": reports[-1]["trainer"]}
        return Run(start_up, training, 0, {}, notes)

    def _train(self, job: Job) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="orchard-bench-") as name:
            order = Path(name) / "job.json"
            order.write_text(json.dumps(self._order(job, Path(name))))
            command = [sys.executable, "-m", "tests.bench.peers.process_job", str(order)]
            environment = os.environ | {"HF_HUB_OFFLINE": "1"}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
            if done.returncode:
                raise RuntimeError(f"the process of {job.id} ended with {done.returncode}:\n{done.stderr[-4000:]}")
            report: dict[str, Any] = json.loads((Path(name) / "report.json").read_text())
            return report

    def _order(self, job: Job, folder: Path) -> dict[str, Any]:
        """The job with its rows in the order in which every other peer sees them."""
        plan = job.plan(0)
        rows = [
            {"input_ids": ids[mask.bool()].tolist(), "labels": labels[mask.bool()].tolist()}
            for step in range(job.steps)
            for batch in plan.micro_batches(step)
            for ids, mask, labels in zip(batch.input_ids, batch.attention_mask, labels_of(batch), strict=True)
        ]
        return {
            "base": str(self._folder),
            "quantization": self._spec.quantization.value,
            "compute_dtype": self._spec.compute_dtype.value,
            "threads": self._spec.threads,
            "method": job.method.model_dump(),
            "training": job.training.model_dump(),
            "seed": job.seed,
            "rows": rows,
            "output": str(folder),
        }
