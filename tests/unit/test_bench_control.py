"""The control plane's bench runs, and its figures are of what it says."""

import json
from typing import Any

import pytest
from sqlalchemy import func, select

from orchestrator.db.database import Database
from orchestrator.db.job_tables import AttemptRow, JobRow
from orchestrator.db.states import JobState
from tests.bench.control.__main__ import main
from tests.bench.control.load import post
from tests.bench.control.percentiles import milliseconds
from tests.bench.control.rows import fill
from tests.bench.control.targets import judge

SMALL = ["--seconds", "0.5", "--claims", "3", "--queued", "70", "--finished", "90", "--running", "3", "--repeats", "3"]


@pytest.mark.slow
def test_every_part_measures_on_both_engines(capsys: pytest.CaptureFixture[str]) -> None:
    report = main([*SMALL, "--repeats", "11", "--json"])
    assert json.loads(capsys.readouterr().out) == report
    for engine in ("sqlite", "postgresql"):
        figures = report["engines"][engine]
        assert figures["submit"]["refused"] == 0
        assert figures["submit"]["at_rate"]["n"] == 50
        assert figures["claims"]["claims_per_s"] > 0
        assert figures["depth"]["full"]["claim"]["n"] == 11
        assert figures["running"]["every_job_stepped"]["n"] == 2
    assert report["engines"]["sqlite"]["database"]["synchronous"] == 2
    assert report["engines"]["postgresql"]["database"]["fsync"] == "on"


def test_rows_by_the_thousand_are_rows_like_any_other(db: Database) -> None:
    fill(db, queued=30, finished=20)
    with db.read() as session:
        states = dict(session.execute(select(JobRow.state, func.count()).group_by(JobRow.state)).all())
        assert states == {JobState.QUEUED: 31, JobState.SUCCEEDED: 21}
        assert session.scalar(select(func.count()).select_from(AttemptRow).where(AttemptRow.ended_at.is_(None))) == 0
        assert session.scalars(select(JobRow)).first().spec["job_id"]


def test_percentiles_are_of_all_measurements_and_too_few_are_refused() -> None:
    assert milliseconds([0.001 * n for n in range(1, 102)]) == {"p50_ms": 51, "p99_ms": 100, "max_ms": 101, "n": 101}
    with pytest.raises(ValueError, match="1 measurements"):
        milliseconds([1.0])


def test_a_target_is_judged_on_the_right_side_and_what_was_not_measured_is_not_judged() -> None:
    submit: dict[str, Any] = {"submits_per_s": 299.9, "at_rate": {"p50_ms": 9.0, "p99_ms": 51.0}}
    judged = judge({"engines": {"sqlite": {"submit": submit}}, "live": {"submit_to_first_step": {"p50_ms": 900.0}}})
    assert {name: target["met"] for name, target in judged.items()} == {
        "sqlite: submits_per_s": False,
        "sqlite: submit_p50_ms_at_100_per_s": True,
        "sqlite: submit_p99_ms_at_100_per_s": False,
        "submit_to_first_step_p50_ms": True,
    }


def test_a_post_says_how_long_it_is() -> None:
    assert post("/v1", "key", b"{}").endswith(b"Content-Length: 2\r\n\r\n{}")
