"""What every lane promises: the same numbers, whatever the company, and refusals that name what is wrong."""

from pathlib import Path

import pytest

from tests.builders.driving import drain, losses, of_job, outcome_of, work_to_step
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from workers.contract.base import BaseSpec
from workers.contract.errors import ErrorCode
from workers.contract.lanes import Lane, NoLane, choose_lane
from workers.contract.reports import CheckpointManifest, ExitClass
from workers.host import LANES, TrainingHost

every_lane = pytest.mark.parametrize("lane", list(Lane))


def test_every_lane_has_its_stepper():
    assert LANES.keys() == set(Lane)


@every_lane
def test_a_seat_trains_beside_another_as_it_does_alone(tmp_path: Path, tiny_base: BaseSpec, lane: Lane):
    alone, beside = ([*trace(tmp_path / name, tiny_base, lane, count)] for name, count in (("one", 1), ("two", 2)))
    assert alone == pytest.approx(beside, rel=1e-5)


def test_all_lanes_give_the_same_losses(tmp_path: Path, tiny_base: BaseSpec):
    traces = [trace(tmp_path / lane, tiny_base, lane, 1) for lane in Lane]
    for other in traces[1:]:
        assert other == pytest.approx(traces[0], rel=1e-5)


@every_lane
def test_a_host_refuses_a_job_of_another_lane(tmp_path: Path, tiny_base: BaseSpec, lane: Lane):
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, lane=lane))
    other = next(each for each in Lane if each is not lane)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, lane=other)))
    outcome = outcome_of(drain(host), "ftjob-1")
    assert (outcome.exit_class, outcome.error_code) == (ExitClass.INFRA, ErrorCode.BASE_UNAVAILABLE)
    assert f"causal_lm {other}" in outcome.message


@every_lane
def test_a_host_that_retires_saves_its_seats(tmp_path: Path, tiny_base: BaseSpec, lane: Lane):
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, lane=lane))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, lane=lane, n_epochs=9)))
    work_to_step(host, "ftjob-1", 2)
    host.retire()
    reports = drain(host)
    outcome = outcome_of(reports, "ftjob-1")
    assert outcome.exit_class is ExitClass.PREEMPTED
    assert of_job(reports, CheckpointManifest, "ftjob-1")[-1].step == outcome.step


def test_a_job_takes_the_fused_lane_where_its_method_can_and_is_told_why():
    assert choose_lane("lora", {Lane.FUSED, Lane.SOLO}, None).lane is Lane.FUSED
    chosen = choose_lane("bitfit", {Lane.SOLO}, None)
    assert (chosen.lane, chosen.reason) == (Lane.SOLO, "solo, because method 'bitfit' has no fused form")
    assert choose_lane("lora", {Lane.FUSED, Lane.SOLO}, Lane.SOLO).reason == "solo, because the job asked for it"
    with pytest.raises(NoLane, match="cannot train in the fused lane; it can in: solo"):
        choose_lane("bitfit", {Lane.SOLO}, Lane.FUSED)


def trace(folder: Path, base: BaseSpec, lane: Lane, seats: int) -> list[float | None]:
    """Losses of the first of so many jobs on one host."""
    host = TrainingHost(make_host_spec(folder, base, lane=lane))
    for number in range(seats):
        data = make_dataset(folder / f"{number}.jsonl", sum_rows(12, start=10 * number))
        host.attach(make_order(make_job_spec(folder, base, job_id=f"job-{number}", training=data, lane=lane)))
    return losses(drain(host), "job-0")
