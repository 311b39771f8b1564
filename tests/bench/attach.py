"""`python -m tests.bench.attach --json`: how long a newcomer waits on a warm host, and whether seats make it slower.

`attach_to_first_step_s`: from `attach` of a job with a file, on a host that is warm and otherwise empty, to the report
of its first step; rows are read and tokenized in between. `seat`: making the n-th adapter, and its first step while the
seats before it rest; a stepper that puts work off shows it there.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from tests.bench.exclusive import alone
from tests.bench.machine import describe_machine
from tests.bench.options import add_subject, chosen_subjects
from tests.bench.peers.product import fused_stepper, open_seat
from tests.bench.spread import spread
from tests.bench.workloads import Job, shortened
from tests.builders.specs import make_dataset, make_job_spec, make_order
from workers.bases import LoadedBase, load_base
from workers.contract.errors import WorkerError
from workers.contract.reports import StepReport
from workers.contract.rows import DatasetFormat
from workers.contract.spec import HostSpec
from workers.engine.stepper import Stepper
from workers.host import TrainingHost
from workers.lanes.solo.stepper import SequentialStepper

SEATS: Final = 33
STEPPERS: Final[dict[str, Callable[[LoadedBase], Stepper]]] = {"ours": fused_stepper, "turns": SequentialStepper}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, and return what was printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.attach", description=__doc__)
    add_subject(parser)
    parser.add_argument("--stepper", choices=list(STEPPERS), default="ours")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seats", type=int, default=SEATS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with redirect_stdout(sys.stderr):
        report = _run(given)
    print(json.dumps(report, indent=1) if given.json else _table(report))
    return report


def _run(given: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(given.threads)
    machine = describe_machine(given.threads)
    subject = chosen_subjects(given)[0]
    make_stepper = STEPPERS[given.stepper]
    waits = first_steps(subject.host, load_base(subject.host), make_stepper, given.repeats)
    (job,) = shortened(subject.jobs[:1], 1)
    return {
        "machine": machine,
        "stepper": given.stepper,
        "base": subject.host.base.id,
        "quantization": subject.host.quantization.value,
        "compute_dtype": subject.host.compute_dtype.value,
        "attach_to_first_step_s": spread(waits),
        "seat": seat_costs(job, load_base(subject.host), make_stepper, given.seats, given.repeats),
    }


def first_steps(
    host: HostSpec, base: LoadedBase, make_stepper: Callable[[LoadedBase], Stepper], repeats: int
) -> list[float]:
    """Seconds from `attach` to the first step of jobs that come one after the other; the first only warms up."""
    waits = []
    with tempfile.TemporaryDirectory(prefix="orchard-bench-") as name:
        training = TrainingHost(host, load=lambda spec: base, stepper=make_stepper)
        training.run_once()
        for number in range(repeats + 1):
            waits.append(_first_step(training, host, Path(name), f"job-{number}"))
    return waits[1:]


def _first_step(training: TrainingHost, host: HostSpec, folder: Path, job_id: str) -> float:
    rows = [{"text": f"order {number} goes to shipping"} for number in range(4)]
    spec = make_job_spec(
        folder,
        host.base,
        job_id=job_id,
        training=make_dataset(folder / f"{job_id}.jsonl", rows, DatasetFormat.TEXT),
        quantization=host.quantization,
        compute_dtype=host.compute_dtype,
        n_epochs=1,
        rank=8,
    )
    cursor = max((numbered.seq for numbered in training.poll(0).reports), default=0)
    order = make_order(spec)
    started = time.perf_counter()
    training.attach(order)
    while True:
        if not training.run_once():
            raise RuntimeError(f"{job_id} ended before its first step: {training.poll(cursor).reports[-1].report}")
        new = [numbered.report for numbered in training.poll(cursor).reports]
        if any(isinstance(report, StepReport) for report in new):
            waited = time.perf_counter() - started
            while training.run_once():
                pass
            return waited


def seat_costs(
    job: Job, base: LoadedBase, make_stepper: Callable[[LoadedBase], Stepper], seats: int, repeats: int
) -> dict[str, Any]:
    """Milliseconds that the 2nd and the last seat take to open, and to finish their first step alone."""
    stepper = make_stepper(base)
    opened: dict[int, list[float]] = {2: [], seats: []}
    stepped: dict[int, list[float]] = {2: [], seats: []}
    for _ in range(repeats + 1):
        held = []
        for number in range(1, seats + 1):
            started = time.perf_counter()
            seat = open_seat(replace(job, id=f"job-{number}"), base, stepper)
            open_ms = 1000 * (time.perf_counter() - started)
            held.append(seat)
            if number in opened:
                opened[number].append(open_ms)
                stepped[number].append(_step_ms(stepper, seat))
        for seat in held:
            stepper.close(seat.adapter)
    return {
        str(number): {"open_ms": spread(opened[number][1:]), "first_step_ms": spread(stepped[number][1:])}
        for number in opened
    }


def _step_ms(stepper: Stepper, seat: Any) -> float:
    started = time.perf_counter()
    (stepped,) = stepper.step([seat])
    if isinstance(stepped.result, WorkerError):
        raise stepped.result
    return 1000 * (time.perf_counter() - started)


def _table(report: dict[str, Any]) -> str:
    wait = report["attach_to_first_step_s"]
    lines = [
        f"{report['stepper']} on {report['base']} {report['quantization']}/{report['compute_dtype']}",
        f"  attach to first step: {wait['median']:.3f} s [{wait['q1']:.3f}, {wait['q3']:.3f}]",
    ]
    for number, cost in report["seat"].items():
        opening, step = cost["open_ms"]["median"], cost["first_step_ms"]["median"]
        lines.append(f"  seat {number}: open {opening:.1f} ms, first step {step:.1f} ms")
    return "\n".join(lines)


if __name__ == "__main__":
    with alone():
        main()
