"""What only a real Ray can show: hosts that wait, hang or outlive their driver, and a head that goes away."""

import os
import pkgutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest

import orchestrator
from orchestrator.cluster.port import HostGone, HostUnreachable
from orchestrator.cluster.ray import RayCluster
from tests.builders.ray_cluster import CPUS, RayHead, running_ray_head
from tests.builders.scripted_actor import ScriptedActor
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from tests.builders.waiting import wait_until
from workers.contract.reports import ExitClass, HostReport
from workers.contract.spec import SeatAssignment

pytestmark = pytest.mark.slow

CPU = {"CPU": 1.0}
CHECKOUT = Path(orchestrator.__file__).parents[1]
DRIVER = """
import sys, time
from pathlib import Path
from orchestrator.cluster.port import HostUnreachable
from orchestrator.cluster.ray import RayCluster
from tests.builders.scripted_actor import ScriptedActor
from tests.builders.specs import make_host_spec
cluster = RayCluster(sys.argv[1], namespace=sys.argv[2], actor=ScriptedActor)
try:
    cluster.start_host(make_host_spec(Path(sys.argv[3])), {"CPU": 1.0})
except HostUnreachable as error:
    sys.exit(f"refused: {error}")
print("started", flush=True)
time.sleep(600)
"""

ORPHAN = """
import os, sys
if os.fork():
    os._exit(0)
from orchestrator.cluster.port import HostUnreachable
from orchestrator.cluster.ray import RayCluster
cluster = RayCluster(sys.argv[1], namespace=sys.argv[2], answer_timeout_s=5.0)
print(sorted(cluster.host_ids()), flush=True)
for line in sys.stdin:
    try:
        print(sorted(cluster.host_ids()), flush=True)
    except HostUnreachable:
        print("unreachable", flush=True)
"""


@pytest.fixture
def cluster(ray_address: str, tmp_path: Path) -> Iterator[RayCluster]:
    cluster = make_cluster(ray_address, tmp_path)
    yield cluster
    for host_id in cluster.host_ids():
        cluster.stop_host(host_id)
    cluster.close()


def make_cluster(address: str, folder: Path) -> RayCluster:
    return RayCluster(address, namespace=folder.name, actor=ScriptedActor, answer_timeout_s=5.0)


def answer(cluster: RayCluster, host_id: str = "host-1") -> HostReport:
    def ask() -> HostReport | None:
        try:
            return cluster.poll(host_id, 0)
        except HostUnreachable:
            return None

    report = wait_until(ask, f"{host_id} answers")
    assert report is not None
    return report


@contextmanager
def driving(address: str, folder: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Another driver, as a process: it starts `host-1` and stays until it is killed."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, address, folder.name, str(folder)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with driver:
        try:
            yield driver
        finally:
            driver.kill()


def test_a_host_without_resources_is_unreachable_and_can_be_stopped(cluster: RayCluster, tmp_path: Path) -> None:
    cluster.start_host(make_host_spec(tmp_path), {"CPU": 1000.0})
    assert cluster.host_ids() == {"host-1"}
    with pytest.raises(HostUnreachable):
        cluster.poll("host-1", 0)
    with pytest.raises(HostUnreachable):
        cluster.attach("host-1", make_order(make_job_spec(tmp_path)))
    cluster.stop_host("host-1")
    assert cluster.host_ids() == frozenset()


def test_a_host_of_an_unknown_resource_waits_and_one_that_asks_for_nothing_runs(
    cluster: RayCluster, tmp_path: Path
) -> None:
    cluster.start_host(make_host_spec(tmp_path, host_id="odd"), {"CPU": 1.0, "accelerator_x": 1.0})
    cluster.start_host(make_host_spec(tmp_path, host_id="free"), {})
    assert answer(cluster, "free").host_id == "free"
    with pytest.raises(HostUnreachable):
        cluster.poll("odd", 0)


def test_a_host_starts_when_the_process_of_the_last_one_on_its_device_has_ended(
    cluster: RayCluster, tmp_path: Path
) -> None:
    """Ray waits 5 s before it kills a process that stands still, and tells at once that the actor is dead."""
    device = {"CPU": float(CPUS)}
    cluster.start_host(make_host_spec(tmp_path, host_id="old"), device)
    old = psutil.Process(answer(cluster, "old").pid)
    old.suspend()
    cluster.stop_host("old")
    assert old.is_running()
    cluster.start_host(make_host_spec(tmp_path, host_id="new"), device)
    answer(cluster, "new")
    assert not old.is_running()


def test_a_stopped_process_is_unreachable_and_answers_again_later(ray_address: str, tmp_path: Path) -> None:
    cluster = RayCluster(ray_address, namespace=tmp_path.name, actor=ScriptedActor, answer_timeout_s=0.5)
    cluster.start_host(make_host_spec(tmp_path), CPU)
    before = answer(cluster)
    os.kill(before.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            with pytest.raises(HostUnreachable):
                cluster.poll("host-1", 0)
        assert cluster.host_ids() == {"host-1"}, "not known to be dead"
    finally:
        os.kill(before.pid, signal.SIGCONT)
    assert answer(cluster).pid == before.pid
    cluster.stop_host("host-1")
    cluster.close()


def test_an_answer_given_before_a_seat_was_taken_is_not_heard_after(ray_address: str, tmp_path: Path) -> None:
    cluster = RayCluster(ray_address, namespace=tmp_path.name, actor=ScriptedActor, answer_timeout_s=2.0)
    cluster.start_host(make_host_spec(tmp_path), CPU)
    process = psutil.Process(answer(cluster).pid)
    process.suspend()
    with pytest.raises(HostUnreachable):
        cluster.poll("host-1", 0)
    process.resume()
    order = make_order(make_job_spec(tmp_path))
    wait_until(lambda: attached(cluster, order), "the host takes the seat")
    assert answer(cluster).seats == (order.spec.job_id,)
    cluster.stop_host("host-1")
    cluster.close()


def attached(cluster: RayCluster, order: SeatAssignment) -> bool:
    try:
        cluster.attach("host-1", order)
    except HostUnreachable:
        return False
    return True


def test_poll_is_answered_while_another_call_is_at_work(cluster: RayCluster, tmp_path: Path) -> None:
    import ray

    cluster.start_host(make_host_spec(tmp_path), CPU)
    pid = answer(cluster).pid
    at_work = ray.get_actor("host-host-1", namespace=tmp_path.name).sleep.remote(600)
    assert cluster.poll("host-1", 0).pid == pid
    assert ray.wait([at_work], timeout=0)[0] == []


def test_a_stopped_hosts_process_ends(cluster: RayCluster, tmp_path: Path) -> None:
    cluster.start_host(make_host_spec(tmp_path), CPU)
    process = psutil.Process(answer(cluster).pid)
    cluster.stop_host("host-1")
    wait_until(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "the process is gone")


def test_a_host_outlives_the_kill_of_its_driver_and_the_next_one_adopts_it(
    cluster: RayCluster, ray_address: str, tmp_path: Path
) -> None:
    with driving(ray_address, tmp_path) as driver:
        assert driver.stdout is not None
        assert "started\n" in iter(driver.stdout.readline, ""), "the driver ended early"
        first = answer(cluster)
        cluster.attach("host-1", make_order(make_job_spec(tmp_path)))
        driver.kill()
    cluster.start_host(make_host_spec(tmp_path), CPU)
    after = answer(cluster)
    assert (after.pid, after.seats) == (first.pid, ("ftjob-1",))
    cluster.detach("host-1", "ftjob-1", 1, ExitClass.CANCELLED)
    assert answer(cluster).seats == ()


def test_a_driver_with_another_token_is_refused(cluster: RayCluster, ray_address: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("0" * 64)
    with driving(ray_address, tmp_path, RAY_AUTH_TOKEN_PATH=str(wrong)) as driver:
        _, errors = driver.communicate(timeout=90)
        assert driver.returncode == 1
    assert "refused" in errors
    assert cluster.host_ids() == frozenset()


def test_a_head_that_is_away_leaves_all_unknown_and_a_new_head_knows_no_host(tmp_path: Path) -> None:
    with running_ray_head(tmp_path) as head:
        cluster = make_cluster(head.address, tmp_path)
        cluster.start_host(make_host_spec(tmp_path), CPU)
        answer(cluster)
        head.kill()
        assert_nothing_is_learnt(cluster, tmp_path)
        head.start()
        assert cluster.host_ids() == frozenset()
        with pytest.raises(HostGone):
            cluster.poll("host-1", 0)
        cluster.start_host(make_host_spec(tmp_path), CPU)
        assert answer(cluster).seats == ()
        restart_unseen(head)
        with pytest.raises(HostGone):
            cluster.poll("host-1", 0)
        cluster.close()


def test_a_head_that_hangs_leaves_all_unknown_until_it_goes_on(cluster: RayCluster, tmp_path: Path) -> None:
    cluster.close()  # Ray has one driver in a process
    with running_ray_head(tmp_path) as head:
        other = make_cluster(head.address, tmp_path)
        other.start_host(make_host_spec(tmp_path), CPU)
        pid = answer(other).pid
        head.suspend()
        try:
            assert_nothing_is_learnt(other, tmp_path)
        finally:
            head.resume()
        assert answer(other).pid == pid
        other.close()


@pytest.mark.parametrize("kind", ["ray.exceptions.GetTimeoutError", "builtins.OSError"])
def test_a_question_to_the_head_that_failed_once_is_asked_anew(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    cluster.start_host(make_host_spec(tmp_path), CPU)
    error = pkgutil.resolve_name(kind)("the head went away")
    with monkeypatch.context() as away:
        away.setattr("ray.util.list_named_actors", Mock(side_effect=error))
        with pytest.raises(HostUnreachable):
            cluster.host_ids()
    assert cluster.host_ids() == {"host-1"}


@pytest.mark.parametrize("kind", ["ray.exceptions.RpcError", "builtins.OSError"])
def test_a_head_that_goes_away_between_two_questions_leaves_all_unknown(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    cluster.start_host(make_host_spec(tmp_path), CPU)
    answer(cluster)
    error = pkgutil.resolve_name(kind)("the head went away")
    with monkeypatch.context() as away:
        away.setattr("ray.util.list_named_actors", Mock(side_effect=[["host-host-1"], error]))
        with pytest.raises(HostUnreachable):
            cluster.host_ids()
    monkeypatch.setattr("ray.get_actor", Mock(side_effect=error))
    with pytest.raises(HostUnreachable):
        cluster.detach("host-1", "ftjob-1", 1, ExitClass.CANCELLED)
    with pytest.raises(HostUnreachable):
        cluster.stop_host("host-1")
    monkeypatch.undo()
    assert cluster.host_ids() == {"host-1"}


def test_a_driver_whose_parent_is_init_outlives_its_head(tmp_path: Path) -> None:
    """As under systemd. Ray takes such a process for a worker whose raylet has died, and would end it."""
    with running_ray_head(tmp_path) as head:
        command = [sys.executable, "-c", ORPHAN, head.address, tmp_path.name]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
        ) as driver:
            assert driver.stdin is not None
            assert driver.stdout is not None
            assert driver.stdout.readline() == "[]\n"
            head.kill()
            driver.stdin.write("\n")
            driver.stdin.flush()
            assert driver.stdout.readline() == "unreachable\n"
            driver.stdin.close()


def assert_nothing_is_learnt(cluster: RayCluster, folder: Path) -> None:
    with pytest.raises(HostUnreachable):
        cluster.host_ids()
    with pytest.raises(HostUnreachable):
        cluster.poll("host-1", 0)
    with pytest.raises(HostUnreachable):
        cluster.start_host(make_host_spec(folder), CPU)


def restart_unseen(head: RayHead) -> None:
    """Between two calls of the cluster: it meets another head at the same address."""
    head.kill()
    head.start()
