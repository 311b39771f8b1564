"""A host in a process of its own, forked from one that has the training stack loaded: quick to start, cheap to kill."""

import multiprocessing
import os
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from tests.builders.specs import make_host_spec, make_order
from tests.builders.waiting import wait_until
from workers.contract.reports import CheckpointManifest, Outcome, Report
from workers.contract.spec import CheckpointRef, JobSpec

PRELOAD = ["workers.host", "workers.lanes.fused", "tests.faults.worker"]
REPORT: TypeAdapter[Report] = TypeAdapter(Report)
ReportT = TypeVar("ReportT")


def serve(host_json: str, order_json: str, fail: str, reports: str, deaf: bool) -> None:
    """In the child: one attempt to its end. Every report goes to the file; `deaf`: no poll follows the first step."""
    from workers.actor import HostActor
    from workers.contract.failpoints import Plan, hooked
    from workers.contract.reports import HostReport, StepReport

    actor = HostActor(host_json)
    with hooked(Plan(fail, Path(f"{reports}.fired"))), Path(reports).open("a") as file:
        actor.attach(order_json)
        cursor, stepped = 0, False
        while True:
            if deaf and stepped:
                continue_forever()
            for numbered in HostReport.model_validate_json(actor.poll(cursor)).reports:
                cursor = numbered.seq
                stepped |= isinstance(numbered.report, StepReport)
                file.write(numbered.report.model_dump_json() + "\n")
                file.flush()
                if isinstance(numbered.report, Outcome):
                    os._exit(0)


def continue_forever() -> None:
    """Until the process ends itself."""
    import time

    while True:
        time.sleep(60)


@dataclass
class Job:
    """A job that is tried again and again, as the control plane would."""

    spec: JobSpec
    folder: Path
    attempt: int = 0
    committed: list[CheckpointRef] = field(default_factory=list)

    def start(self, fail: str = "", deaf: bool = False, **host: object) -> BaseProcess:
        """The next attempt, from the newest of the committed checkpoints."""
        self.attempt += 1
        self.reports.write_text("")
        order = make_order(self.spec, self.attempt, f"lease-{self.attempt}", self.committed[::-1][:5])
        spec = make_host_spec(self.folder, self.spec.base).model_copy(update={"threads": 1, **host})
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        arguments = (spec.model_dump_json(), order.model_dump_json(), fail, str(self.reports), deaf)
        child = context.Process(target=serve, args=arguments, daemon=True)
        child.start()
        return child

    def run(self, fail: str = "") -> int:
        """One attempt to its end or death; takes in what it reported. Returns the exit code."""
        child = self.start(fail)
        child.join(120)
        assert child.exitcode is not None, "the worker hangs"
        self.take_in()
        return child.exitcode

    def take_in(self) -> None:
        for report in self.told(CheckpointManifest):
            fields = report.model_dump(include={"uri", "step", "manifest_sha256"})
            self.committed.append(CheckpointRef(**fields))

    @property
    def reports(self) -> Path:
        return self.folder / f"reports-{self.attempt}.jsonl"

    @property
    def fired(self) -> list[str]:
        """Failpoints that acted in the attempt."""
        log = Path(f"{self.reports}.fired")
        return log.read_text().split() if log.exists() else []

    def told(self, kind: type[ReportT]) -> list[ReportT]:
        """What the attempt reported, of one kind. A line that its death cut is not heard."""
        lines = self.reports.read_text().splitlines(keepends=True)
        reports = [REPORT.validate_json(line) for line in lines if line.endswith("\n")]
        return [report for report in reports if isinstance(report, kind)]

    def wait_for(self, kind: type[ReportT], count: int = 1) -> ReportT:
        wait_until(lambda: len(self.told(kind)) >= count, f"{count} x {kind.__name__}", 60)
        return self.told(kind)[count - 1]

    @property
    def output(self) -> Path:
        return Path(self.spec.output_uri.removeprefix("file://"))

    def adapter(self) -> bytes:
        """The weights of the attempt that finished."""
        return (self.output / f"a{self.attempt}" / "adapter" / "peft" / "adapter_model.safetensors").read_bytes()
