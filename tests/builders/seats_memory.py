"""`python -m tests.builders.seats_memory`: trains eight seats of mixed ranks; prints their peak and the model's.

All adapt every linear and have dropout, the largest case of the model. The knee is fixed, because its measurement
depends on the load of the processor.
"""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from tests.bench.bases import SIZES, host_spec
from tests.bench.memory import PeakSampler
from tests.bench.peers.product import ProductPeer, job_spec
from tests.bench.workloads import Job, Scale, make_jobs, shortened
from workers.contract.memory import Footprint
from workers.contract.methods import Lora
from workers.lanes.fused import FusedStepper
from workers.lanes.fused import stepper as fused_stepper
from workers.lanes.fused.footprint import estimate_of

SEATS, STEPS, KNEE = 8, 2, 1_000
tokens: list[int] = []
"""Of every training pass."""


class Watched(FusedStepper):
    """Records the size of its passes."""

    def _forward_backward(self, routing, *rest):
        tokens.append(routing.tokens)
        return super()._forward_backward(routing, *rest)


def heavy(job: Job) -> Job:
    changes = {"dropout": 0.1, "target_modules": Lora().target_modules}
    return replace(job, method=job.method.model_copy(update=changes))


def main() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    with tempfile.TemporaryDirectory() as folder:
        spec = host_spec("tiny", "nf4", None, threads=1, cache=Path(folder))
        fused_stepper.measure_knee = lambda run_pass: KNEE
        peer = ProductPeer(spec, Watched)
        tokens.clear()
        scale = Scale(vocab_size=SIZES["tiny"]["vocab_size"], jobs=SEATS)
        jobs = [heavy(job) for job in shortened(make_jobs("W3", scale), STEPS)]
        with PeakSampler() as sampler:
            peer.run(jobs)
        seats = sum(job_spec(job, spec).seat_bytes for job in jobs)

        def total(footprint: Footprint) -> int:
            return footprint.resident_bytes + seats + footprint.pass_bytes(max(tokens), recompute=False)

        figures = {
            "peak_bytes": sampler.peak,
            "estimated_bytes": total(estimate_of(spec)),
            "measured_bytes": total(peer.stepper.footprint),
            "tokens": max(tokens),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
