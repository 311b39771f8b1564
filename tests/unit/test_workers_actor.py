"""The actor shell speaks JSON and costs the control plane no torch."""

import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.actor import HostActor
from workers.contract.reports import ExitClass, HostPhase, HostReport
from workers.contract.spec import HostSpec, SeatAssignment


class RecordingHost:
    """Stands where `workers.host.TrainingHost` stands."""

    def __init__(self, spec: HostSpec, leave: Callable[[], None]) -> None:
        self.calls: list[Any] = [spec]

    def start(self) -> None:
        self.calls.append("start")

    def attach(self, order: SeatAssignment) -> None:
        self.calls.append(order)

    def detach(self, job_id: str, attempt: int, reason: ExitClass) -> None:
        self.calls.append((job_id, attempt, reason))

    def retire(self) -> None:
        self.calls.append("retire")

    def poll(self, cursor: int) -> HostReport:
        return HostReport(host_id="h", phase=HostPhase.READY, pid=cursor)


def test_importing_the_actor_imports_no_training_stack() -> None:
    heavy = "{'torch', 'transformers', 'peft', 'bitsandbytes', 'fsspec', 'numpy'}"
    code = f"import sys, workers.actor; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def _recording_host(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = types.ModuleType("workers.host")
    fake.TrainingHost = RecordingHost  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "workers.host", fake)
    monkeypatch.setenv("ORCHARD_HOST_PROCESS", "")  # this process is no host: what it starts is to stay unmarked


def test_a_host_works_with_the_paths_of_its_own_node(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHARD_NODE_CACHE_DIR", "/ssd/cache")
    monkeypatch.setenv("ORCHARD_NODE_SOURCES", "/nowhere=/mnt/models")
    spec: HostSpec = HostActor(make_host_spec(tmp_path).model_dump_json())._host.calls[0]
    assert (spec.cache_dir, spec.base.source) == ("/ssd/cache", "file:/mnt/models/tiny")


def test_strings_go_in_as_models_and_come_out_as_json(tmp_path: Any) -> None:
    spec, order = make_host_spec(tmp_path), make_order(make_job_spec(tmp_path))
    actor = HostActor(spec.model_dump_json())
    actor.attach(order.model_dump_json())
    actor.detach("ftjob-1", 1, "preempted")
    actor.retire()
    assert actor._host.calls == [spec, "start", order, ("ftjob-1", 1, ExitClass.PREEMPTED), "retire"]
    assert HostReport.model_validate_json(actor.poll(5)).pid == 5
    assert actor.ping() == "pong"
    assert actor.pid() > 0
