"""The host's log of reports."""

from workers.contract.reports import ExitClass, Heartbeat, Outcome
from workers.reports import ReportLog


def beat(job_id: str, step: int = 0, attempt: int = 1) -> Heartbeat:
    return Heartbeat(job_id=job_id, attempt=attempt, lease_token="t", step=step, phase="training")


def end(job_id: str) -> Outcome:
    return Outcome(job_id=job_id, attempt=1, lease_token="t", exit_class=ExitClass.OK, step=1)


def test_reports_stay_until_they_are_acknowledged() -> None:
    log = ReportLog()
    log.append(end("a"))
    log.append(end("b"))
    assert [kept.seq for kept in log.after(0)] == [1, 2]
    assert [kept.seq for kept in log.after(1)] == [2]
    assert [kept.seq for kept in log.after(0)] == [2]


def test_a_newer_heartbeat_replaces_the_older_one_under_a_new_number() -> None:
    log = ReportLog()
    for report in (beat("a", 1), end("b"), beat("a", 2), beat("a", 3, attempt=2)):
        log.append(report)
    assert [(kept.seq, kept.report.job_id, kept.report.step) for kept in log.after(0)] == [
        (2, "b", 1),
        (3, "a", 2),
        (4, "a", 3),
    ]
