"""The command line that the benches share."""

import argparse
import os
from dataclasses import dataclass

from tests.bench.bases import BASES, PRECISIONS, host_spec
from tests.bench.workloads import WORKLOADS, Job, Scale, make_jobs
from workers.contract.base import ComputeDtype
from workers.contract.spec import HostSpec

GEMMA_SCALE = {"jobs": 8, "steps": 10, "tokens": 64}


@dataclass(frozen=True)
class Subject:
    """What is trained on what."""

    host: HostSpec
    workload: str
    jobs: list[Job]


def add_subject(parser: argparse.ArgumentParser) -> None:
    """The arguments that choose base and workload."""
    parser.add_argument("--workload", default="W1", help=f"{', '.join(WORKLOADS)}, or W7 for all of its four")
    parser.add_argument("--base", choices=BASES, default="tiny")
    parser.add_argument("--quant", choices=list(PRECISIONS), default="nf4")
    parser.add_argument("--compute", choices=["bf16", "fp32"], help="arithmetic on quantized weights; default bf16")
    parser.add_argument("--jobs", type=int, help="instead of the workload's own number")
    parser.add_argument("--steps", type=int, help="steps of each job")
    parser.add_argument("--tokens", type=int, help="row length of W1 and W2")
    parser.add_argument("--supervised", type=float, default=0.5, help="share of a row's tokens that carry loss")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)


def chosen_host(given: argparse.Namespace) -> HostSpec:
    """The resident base that was asked for."""
    compute = ComputeDtype(given.compute) if given.compute else None
    return host_spec(given.base, given.quant, compute, given.threads)


def chosen_subjects(given: argparse.Namespace) -> list[Subject]:
    """One subject, or four for W7. On Gemma the sizes shrink to 8 jobs of 10 steps, and W1's rows grow to 64 tokens."""
    host = chosen_host(given)
    workloads = [name for name in WORKLOADS if name == given.workload or name.startswith(f"{given.workload}-")]
    if not workloads:
        raise SystemExit(f"no workload is called {given.workload}; there are {', '.join(WORKLOADS)}")
    sizes = {name: getattr(given, name) for name in GEMMA_SCALE}
    subjects = []
    for workload in workloads:
        defaults = GEMMA_SCALE if given.base == "gemma" and workload == "W1" else {}
        asked = {name: size if size is not None else defaults.get(name) for name, size in sizes.items()}
        scale = Scale(host.base.shape.vocab_size, supervised_share=given.supervised, **asked)
        subjects.append(Subject(host, workload, make_jobs(workload, scale)))
    return subjects
