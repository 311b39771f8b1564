"""What every `Cluster` must do, run against each implementation with a host that trains nothing."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.cluster.port import Cluster, HostGone, HostUnreachable
from orchestrator.cluster.ray import RayCluster
from tests.builders.scripted_actor import ScriptedActor
from tests.builders.scripted_host import ScriptedHost
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from tests.builders.waiting import wait_until
from workers.contract.errors import HostFull
from workers.contract.reports import ExitClass, HostPhase, HostReport, Outcome, StepReport

CPU = {"CPU": 1.0}


@dataclass
class Bench:
    """An implementation, how a test drives its hosts, and the hosts it started."""

    cluster: Cluster
    play: Callable[..., None]
    crash: Callable[[str], None]
    folder: Path
    started: list[str] = field(default_factory=list)

    def start(self, host_id: str = "host-1", max_seats: int = 4) -> str:
        """A host that answers."""
        self.started.append(host_id)
        self.cluster.start_host(make_host_spec(self.folder, host_id=host_id, max_seats=max_seats), CPU)
        self.poll(host_id)
        return host_id

    def poll(self, host_id: str, cursor: int = 0) -> HostReport:
        """The first answer: a real host needs a moment until it is up."""

        def answer() -> HostReport | None:
            with contextlib.suppress(HostUnreachable):
                return self.cluster.poll(host_id, cursor)
            return None

        return wait_until(answer, f"{host_id} answers")  # type: ignore[return-value]

    def is_gone(self, host_id: str) -> bool:
        try:
            self.cluster.poll(host_id, 0)
        except HostGone:
            return True
        except HostUnreachable:
            return False
        return False


def inprocess_bench(folder: Path) -> Iterator[Bench]:
    cluster = InProcessCluster(ScriptedHost)

    def play(host_id: str, method: str, *arguments: object) -> None:
        getattr(cluster.host(host_id), method)(*arguments)

    yield Bench(cluster, play, cluster.kill, folder)


def ray_bench(folder: Path, address: str) -> Iterator[Bench]:
    import ray

    cluster = RayCluster(address, namespace=f"test-{folder.name}", actor=ScriptedActor)

    def play(host_id: str, method: str, *arguments: object) -> None:
        actor = ray.get_actor(f"host-{host_id}", namespace=f"test-{folder.name}")
        ray.get(actor.play.remote(method, *arguments), timeout=20)

    def crash(host_id: str) -> None:
        os.kill(cluster.poll(host_id, 0).pid, signal.SIGKILL)

    yield Bench(cluster, play, crash, folder)
    for host_id in cluster.host_ids():
        cluster.stop_host(host_id)
    cluster.close()


@pytest.fixture(params=["inprocess", pytest.param("ray", marks=pytest.mark.slow)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "inprocess":
        yield from inprocess_bench(tmp_path)
    else:
        yield from ray_bench(tmp_path, request.getfixturevalue("ray_address"))


def test_a_started_host_answers_and_is_listed(bench: Bench) -> None:
    bench.start("a")
    report = bench.poll("a")
    assert (report.host_id, report.phase, report.reports) == ("a", HostPhase.READY, ())
    assert bench.cluster.host_ids() == {"a"}


def test_starting_a_living_host_again_changes_nothing(bench: Bench) -> None:
    bench.start("a")
    bench.cluster.attach("a", make_order(make_job_spec(bench.folder)))
    before = bench.poll("a")
    bench.start("a")
    after = bench.poll("a")
    assert (after.pid, after.seats) == (before.pid, before.seats) == (after.pid, ("ftjob-1",))


def test_hosts_are_separate(bench: Bench) -> None:
    bench.start("a")
    bench.start("b")
    bench.cluster.attach("b", make_order(make_job_spec(bench.folder)))
    assert bench.poll("a").seats == ()
    assert bench.poll("b").seats == ("ftjob-1",)
    assert bench.cluster.host_ids() == {"a", "b"}


def test_a_seat_reports_until_its_outcome_and_polling_acknowledges(bench: Bench) -> None:
    host = bench.start()
    bench.cluster.attach(host, make_order(make_job_spec(bench.folder)))
    bench.play(host, "run", "ftjob-1", 3)
    reports = bench.poll(host).reports
    assert [entry.seq for entry in reports] == list(range(1, len(reports) + 1))
    assert [entry.report.step for entry in reports if isinstance(entry.report, StepReport)] == [1, 2, 3]
    last = reports[-1].report
    assert isinstance(last, Outcome)
    assert last.exit_class is ExitClass.OK
    assert bench.poll(host, cursor=2).reports == reports[2:]
    assert bench.poll(host, cursor=0).reports == reports[2:], "what was acknowledged is forgotten"
    assert bench.poll(host, cursor=len(reports)).reports == ()


def test_attach_and_detach_may_be_repeated(bench: Bench) -> None:
    host = bench.start()
    order = make_order(make_job_spec(bench.folder))
    bench.cluster.attach(host, order)
    bench.cluster.attach(host, order)
    assert bench.poll(host).seats == ("ftjob-1",)
    bench.cluster.detach(host, "ftjob-1", 1, ExitClass.CANCELLED)
    bench.cluster.detach(host, "ftjob-1", 1, ExitClass.CANCELLED)
    bench.cluster.detach(host, "ftjob-unknown", 1, ExitClass.CANCELLED)
    report = bench.poll(host)
    assert report.seats == ()
    outcomes = [entry.report for entry in report.reports if isinstance(entry.report, Outcome)]
    assert [outcome.exit_class for outcome in outcomes] == [ExitClass.CANCELLED]


def test_a_full_host_refuses_with_the_contract_error(bench: Bench) -> None:
    host = bench.start(max_seats=1)
    bench.cluster.attach(host, make_order(make_job_spec(bench.folder, job_id="ftjob-1")))
    with pytest.raises(HostFull, match="1 seats"):
        bench.cluster.attach(host, make_order(make_job_spec(bench.folder, job_id="ftjob-2")))
    assert bench.poll(host).seats == ("ftjob-1",)


def test_a_host_nobody_started_is_gone(bench: Bench) -> None:
    order = make_order(make_job_spec(bench.folder))
    with pytest.raises(HostGone):
        bench.cluster.poll("nobody", 0)
    with pytest.raises(HostGone):
        bench.cluster.attach("nobody", order)
    with pytest.raises(HostGone):
        bench.cluster.detach("nobody", "ftjob-1", 1, ExitClass.CANCELLED)
    with pytest.raises(HostGone):
        bench.cluster.retire("nobody")
    bench.cluster.stop_host("nobody")


def test_a_crashed_host_is_gone_and_may_be_started_anew(bench: Bench) -> None:
    host = bench.start()
    bench.cluster.attach(host, make_order(make_job_spec(bench.folder)))
    bench.crash(host)
    wait_until(lambda: bench.is_gone(host), "the crash is seen")
    wait_until(lambda: host not in bench.cluster.host_ids(), "the host is no longer listed")
    bench.start(host)
    assert bench.poll(host).seats == ()


def test_a_host_that_is_asked_to_retire_gives_its_seats_up_and_says_what_it_found(bench: Bench) -> None:
    host = bench.start()
    bench.cluster.attach(host, make_order(make_job_spec(bench.folder)))
    bench.cluster.retire(host)
    bench.cluster.retire(host)
    report = bench.poll(host)
    assert (report.phase, report.base_intact, report.seats) == (HostPhase.RETIRED, True, ())
    outcomes = [entry.report.exit_class for entry in report.reports if isinstance(entry.report, Outcome)]
    assert outcomes == [ExitClass.PREEMPTED]
    with pytest.raises(HostFull, match="retiring"):
        bench.cluster.attach(host, make_order(make_job_spec(bench.folder, job_id="ftjob-2")))
    assert host in bench.cluster.host_ids(), "who asked it to retire ends it"


def test_a_stopped_host_is_gone_at_once_and_others_live(bench: Bench) -> None:
    bench.start("a")
    bench.start("b")
    bench.cluster.stop_host("a")
    assert bench.cluster.host_ids() == {"b"}
    with pytest.raises(HostGone):
        bench.cluster.poll("a", 0)
    bench.cluster.stop_host("a")
    assert bench.poll("b").host_id == "b"
