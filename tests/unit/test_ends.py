"""What becomes of a job when an attempt ends: three budgets, wishes, and the pauses between tries."""

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.db.states import Desired, JobState, StopReason
from orchestrator.lifecycle.retry_policy import BACKOFF, AttemptEnd, RetryState, after_attempt
from tests.builders.rows import NOW
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass

LOST = AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, "The host died.")
DIVERGED = AttemptEnd(ExitClass.USER, ErrorCode.NON_FINITE_LOSS, "The loss is NaN.")
BAD_ROWS = AttemptEnd(ExitClass.USER, ErrorCode.INVALID_TRAINING_FILE, "Line 3 is empty.")
GAVE_UP = AttemptEnd(ExitClass.PREEMPTED)


def standing(state: JobState = JobState.RUNNING, desired: Desired = Desired.RUN, **changes: Any) -> RetryState:
    return RetryState(state=state, desired=desired, **changes)


@pytest.mark.parametrize("end", [LOST, DIVERGED, BAD_ROWS, GAVE_UP, AttemptEnd(ExitClass.CANCELLED)])
def test_a_wish_to_cancel_outranks_every_end(end: AttemptEnd):
    spent = standing(desired=Desired.CANCEL, infra_failures=10, host_evictions=100, user_failures=9)
    assert after_attempt(spent, end, NOW).to is JobState.CANCELLED


def test_a_lost_attempt_draws_on_the_infra_budget_alone():
    decision = after_attempt(standing(user_failures=0, infra_failures=2, host_evictions=7, jitter=1.0), LOST, NOW)
    assert decision.to is JobState.BACKOFF
    assert decision.changes == {"not_before": NOW + timedelta(seconds=4), "infra_failures": 3}


def test_the_last_lost_attempt_fails_the_job_and_says_that_it_got_nowhere():
    decision = after_attempt(standing(infra_failures=10, step=40), LOST, NOW)
    assert (decision.to, decision.changes["error_code"]) == (JobState.FAILED, ErrorCode.HOST_LOST)
    assert "The host died. The job was interrupted 11 times without progress beyond step 40" in decision.event.message


def test_a_seat_that_its_host_saved_by_itself_draws_on_no_other_budget_and_waits_for_nothing():
    decision = after_attempt(standing(infra_failures=10, step=7), GAVE_UP, NOW)
    assert (decision.to, decision.changes) == (JobState.BACKOFF, {"not_before": NOW, "host_evictions": 1})
    assert decision.event.message.startswith("Attempt 1 stopped at step 7: its host was not reachable for too long.")


def test_a_job_whose_hosts_are_not_reached_a_hundred_times_without_getting_anywhere_fails():
    decision = after_attempt(standing(host_evictions=100), GAVE_UP, NOW)
    assert decision.to is JobState.FAILED
    assert "was not reachable for too long, 101 times in a row" in decision.event.message


def test_a_jobs_own_error_is_not_repeated_unless_asked():
    assert after_attempt(standing(), DIVERGED, NOW).to is JobState.FAILED
    decision = after_attempt(standing(max_user_retries=1, infra_failures=3), DIVERGED, NOW)
    assert (decision.to, decision.changes["user_failures"]) == (JobState.BACKOFF, 1)
    assert "infra_failures" not in decision.changes
    assert after_attempt(standing(max_user_retries=1, user_failures=1), DIVERGED, NOW).to is JobState.FAILED


def test_an_error_that_would_come_again_is_never_repeated():
    assert after_attempt(standing(max_user_retries=5), BAD_ROWS, NOW).to is JobState.FAILED
    hopeless = AttemptEnd(ExitClass.INFRA, ErrorCode.BASE_REFUSED, "It holds a pickle.", retryable=False)
    assert after_attempt(standing(), hopeless, NOW).to is JobState.FAILED


@pytest.mark.parametrize("end", [GAVE_UP, LOST])
def test_a_job_that_is_to_pause_pauses_however_its_attempt_ends(end: AttemptEnd):
    job = standing(JobState.STOPPING, Desired.PAUSE, stop_reason=StopReason.PAUSE, step=3, reached_step=3)
    decision = after_attempt(job, end, NOW)
    assert (decision.to, decision.event.message) == (JobState.PAUSED, "Paused at step 3")
    assert "not_before" not in decision.changes


def test_a_paused_job_that_could_not_save_its_last_steps_says_so():
    job = standing(desired=Desired.PAUSE, step=3, reached_step=1)
    assert after_attempt(job, LOST, NOW).event.message == "Paused at step 3; its newest checkpoint is at step 1"


def test_a_job_resumed_before_it_left_is_not_counted_as_preempted():
    job = standing(JobState.STOPPING, stop_reason=StopReason.PAUSE)
    assert after_attempt(job, GAVE_UP, NOW).changes == {"not_before": NOW}


@pytest.mark.parametrize("end", [LOST, AttemptEnd(ExitClass.CANCELLED)])
def test_a_job_stopped_for_its_runtime_fails_however_its_attempt_ends(end: AttemptEnd):
    job = standing(JobState.STOPPING, stop_reason=StopReason.RUNTIME)
    assert after_attempt(job, end, NOW).changes["error_code"] == ErrorCode.MAX_RUNTIME_EXCEEDED


def test_a_stuck_attempt_is_a_lost_one():
    job = standing(JobState.STOPPING, stop_reason=StopReason.STUCK)
    assert after_attempt(job, AttemptEnd(ExitClass.CANCELLED), NOW).changes["infra_failures"] == 1


def test_pauses_double_up_to_a_bound_and_are_spread_over_half_of_it():
    assert [BACKOFF.pause_s(count, 1.0) for count in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert BACKOFF.pause_s(3, 0.0) == 2
    assert BACKOFF.pause_s(10_000, 1.0) == BACKOFF.longest_s


def test_ten_retries_outlast_an_outage_of_ten_seconds_many_times_over():
    assert sum(BACKOFF.pause_s(count, 0.0) for count in range(1, 11)) > 500
