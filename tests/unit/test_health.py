"""The orchestrator's probes: what they say of passes, over a real socket."""

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.leadership.lease import Grant
from orchestrator.loops.health import HealthServer, Passes
from orchestrator.loops.runner import Loop
from orchestrator.settings import Settings
from orchestrator.steps.step import Counts

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Held:
    """A role that is held, or not."""

    def __init__(self, grant: Grant | None) -> None:
        self.grant = grant


LEADER, STANDBY = Held(Grant("loops", "me", 1)), Held(None)


class Step:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def run_once(self, now: datetime) -> Counts:
        if self.error is not None:
            raise self.error
        return Counts(done=1)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def test_it_is_ready_from_the_first_pass_until_the_control_loop_is_late():
    time = Time()
    passes = Passes([Loop("control", Step(), 0.5), Loop("housekeeping", Step(), 60.0)], time)
    server = HealthServer("127.0.0.1", 0, lambda: passes.report(LEADER))
    try:
        status, said = get(server.port, "/readyz")
        assert (status, said["last_pass_age_s"]) == (503, None), "no pass yet"
        for loop in passes.loops:
            assert loop.step.run_once(NOW) == Counts(done=1)
        time.now += 30
        status, said = get(server.port, "/readyz?verbose")
        assert (status, said["ready"], said["role"], said["last_pass_age_s"]) == (200, True, "leader", 30)
        time.now += 1
        status, said = get(server.port, "/readyz")
        assert (status, said["ready"]) == (503, False)
        assert said["loops"] == {
            "control": {"last_pass_age_s": 31.0, "late": True},
            "housekeeping": {"last_pass_age_s": 31.0, "late": False},
        }
        assert get(server.port, "/healthz") == (200, {"status": "ok"}), "it lives all the same"
        assert get(server.port, "/other")[0] == 404
    finally:
        server.close()


def test_a_loop_that_is_late_beside_the_control_loop_is_shown_and_leaves_it_ready():
    passes = Passes([Loop("control", Step(), 0.5), Loop("publish", Step(), 0.5)])
    passes.loops[0].step.run_once(NOW)
    said = passes.report(STANDBY)
    assert (said["ready"], said["role"], said["loops"]["publish"]["late"]) == (True, "standby", True)


def test_a_pass_that_fails_is_a_pass():
    passes = Passes([Loop("control", Step(OSError("away")), 0.5)])
    with pytest.raises(OSError, match="away"):
        passes.loops[0].step.run_once(NOW)
    assert passes.report(LEADER)["ready"]


def test_an_empty_port_turns_probes_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fields = {"database_url": "sqlite://", "storage_uri": "file:///x", "catalogue": tmp_path, "cache_dir": tmp_path}
    assert Settings.model_validate(fields).health_port == 8001
    monkeypatch.setenv("ORCHARD_HEALTH_PORT", "")
    assert Settings.model_validate(fields).health_port is None
