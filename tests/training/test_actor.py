"""The actor around a real host."""

from pathlib import Path

import pytest

from tests.builders.driving import losses, outcome_of
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from tests.builders.waiting import wait_until
from workers.actor import HostActor
from workers.contract.base import BaseSpec
from workers.contract.reports import ExitClass, HostReport, Outcome, Report
from workers.contract.spec import SeatAssignment
from workers.orphans import MARK


def test_a_node_that_mounts_its_bases_elsewhere_trains_the_same_job(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHARD_NODE_SOURCES", f"/catalogue/bases={Path(tiny_base.location).parent}")
    monkeypatch.setenv("ORCHARD_NODE_CACHE_DIR", str(tmp_path / "of this node"))
    elsewhere = f"file:/catalogue/bases/{Path(tiny_base.location).name}"
    order = make_order(make_job_spec(tmp_path, tiny_base))  # its rows are encoded where its base is
    there = tiny_base.model_copy(update={"source": elsewhere})
    train(tmp_path, order.model_copy(update={"spec": order.spec.model_copy(update={"base": there})}), monkeypatch)


def test_a_job_given_as_json_is_trained(tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, make_order(make_job_spec(tmp_path, tiny_base)), monkeypatch)


def train(tmp_path: Path, order: SeatAssignment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK, "")  # servers that later tests start are no children of a host
    actor = HostActor(make_host_spec(tmp_path, order.spec.base).model_dump_json())
    actor.attach(order.model_dump_json())
    reports: list[Report] = []
    cursor = 0

    def ended() -> bool:
        nonlocal cursor
        answer = HostReport.model_validate_json(actor.poll(cursor))
        assert answer.pid == actor.pid()
        reports.extend(numbered.report for numbered in answer.reports)
        cursor = max((numbered.seq for numbered in answer.reports), default=cursor)
        return any(isinstance(report, Outcome) for report in reports)

    wait_until(ended, "the outcome of the job", timeout_s=60.0)
    actor.stop()
    assert outcome_of(reports, "ftjob-1").exit_class is ExitClass.OK
    assert len(losses(reports, "ftjob-1")) == 6
