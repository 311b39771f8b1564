"""What every `Cluster` must do, run against each implementation with a host that trains nothing."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.cluster.inprocess import InProcessCluster
from orchestrator.cluster.port import Cluster, EncoderGone, HostGone, HostUnreachable
from orchestrator.cluster.ray import RayCluster
from orchestrator.encodings.keys import encoding_key, order_of
from tests.builders.scripted_actor import ScriptedActor, ScriptedEncoderActor
from tests.builders.scripted_encoder import ScriptedEncoder
from tests.builders.scripted_host import ScriptedHost
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from tests.builders.waiting import wait_until
from workers.contract.encoding import ENCODER_VERSION, EncodeLimits, EncodeOrder, EncoderReport
from workers.contract.errors import HostFull
from workers.contract.reports import ExitClass, HostPhase, HostReport, Outcome, StepReport

CPU = {"CPU": 1.0}


@dataclass
class Bench:
    """An implementation, how a test drives its hosts, and the hosts it started."""

    cluster: Cluster
    play: Callable[..., None]
    crash: Callable[[str], None]
    play_encoder: Callable[[int, str], None]
    crash_encoder: Callable[[int], None]
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
    cluster = InProcessCluster(ScriptedHost, make_encoder=lambda: ScriptedEncoder(prompt=False))

    def play(host_id: str, method: str, *arguments: object) -> None:
        getattr(cluster.host(host_id), method)(*arguments)

    def play_encoder(encoder: int, method: str) -> None:
        getattr(cluster._encoders[encoder], method)()

    yield Bench(cluster, play, cluster.kill, play_encoder, cluster.kill_encoder, folder)


def ray_bench(folder: Path, address: str) -> Iterator[Bench]:
    import ray

    namespace = f"test-{folder.name}"
    cluster = RayCluster(address, namespace=namespace, actor=ScriptedActor, encoder_actor=ScriptedEncoderActor)

    def play(host_id: str, method: str, *arguments: object) -> None:
        actor = ray.get_actor(f"host-{host_id}", namespace=namespace)
        ray.get(actor.play.remote(method, *arguments), timeout=20)

    def crash(host_id: str) -> None:
        os.kill(cluster.poll(host_id, 0).pid, signal.SIGKILL)

    def play_encoder(encoder: int, method: str) -> None:
        actor = ray.get_actor(f"encoder-{ENCODER_VERSION}-{encoder}", namespace=namespace)
        ray.get(actor.play.remote(method), timeout=20)

    def crash_encoder(encoder: int) -> None:
        os.kill(cluster.poll_encoder(encoder).pid, signal.SIGKILL)

    yield Bench(cluster, play, crash, play_encoder, crash_encoder, folder)
    for host_id in cluster.host_ids():
        cluster.stop_host(host_id)
    for encoder in (0, 1):
        cluster.stop_encoder(encoder)
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


def an_order(folder: Path, job_id: str = "ftjob-1", attempt: int = 1) -> EncodeOrder:
    spec = make_job_spec(folder, job_id=job_id)
    key = encoding_key(spec, spec.data.training) + job_id
    return order_of(spec, spec.data.training, key, attempt, (folder / key).as_uri(), str(folder), EncodeLimits())


def hears(bench: Bench, encoder: int, true: Callable[[EncoderReport], object]) -> EncoderReport:
    """A report of which this is true: orders go their own way, and a real encoder needs a moment until it is up."""
    found: list[EncoderReport] = []

    def answer() -> bool:
        with contextlib.suppress(HostUnreachable):
            found.append(bench.cluster.poll_encoder(encoder))
            return bool(true(found[-1]))
        return False

    wait_until(answer, f"encoder {encoder} says so")
    return found[-1]


def encoder_is_gone(bench: Bench, encoder: int) -> bool:
    try:
        bench.cluster.poll_encoder(encoder)
    except EncoderGone:
        return True
    except HostUnreachable:
        return False
    return False


def test_an_encoder_is_started_by_its_first_order_and_tells_how_it_ended(bench: Bench) -> None:
    order = an_order(bench.folder)
    bench.cluster.encode(0, order)
    assert hears(bench, 0, lambda report: report.orders).orders == ((order.key, 1),)
    bench.play_encoder(0, "finish")
    report = hears(bench, 0, lambda report: report.results)
    assert report.orders == ()
    assert [(result.key, result.attempt) for result in report.results] == [(order.key, 1)]
    assert report.results[0].encoded is not None
    assert report.results[0].encoded.rows == 12
    assert bench.cluster.poll_encoder(0).results == report.results, "until others follow"


def test_encoders_are_separate_from_each_other_and_from_hosts(bench: Bench) -> None:
    bench.start("a")
    for encoder in (0, 1):
        bench.cluster.encode(encoder, an_order(bench.folder, f"ftjob-{encoder}"))
    held = [hears(bench, encoder, lambda report: report.orders).orders[0][0] for encoder in (0, 1)]
    assert [key[-7:] for key in held] == ["ftjob-0", "ftjob-1"]
    assert bench.cluster.host_ids() == {"a"}


def test_an_abandoned_order_gets_no_result(bench: Bench) -> None:
    order = an_order(bench.folder)
    bench.cluster.encode(0, order)
    hears(bench, 0, lambda report: report.orders)
    bench.cluster.abandon(0, order.key)
    assert hears(bench, 0, lambda report: not report.orders).results == ()


def test_an_encoder_nobody_started_is_gone(bench: Bench) -> None:
    with pytest.raises(EncoderGone):
        bench.cluster.poll_encoder(1)
    with pytest.raises(EncoderGone):
        bench.cluster.abandon(1, "key")
    bench.cluster.stop_encoder(1)


@pytest.mark.parametrize("how", ["crashes", "is stopped"])
def test_an_encoder_that_crashes_or_is_stopped_is_gone_and_the_next_order_starts_another(
    bench: Bench, how: str
) -> None:
    bench.cluster.encode(0, an_order(bench.folder))
    hears(bench, 0, lambda report: report.orders)
    bench.crash_encoder(0) if how == "crashes" else bench.cluster.stop_encoder(0)
    wait_until(lambda: encoder_is_gone(bench, 0), "its end is seen")
    wait_until(lambda: "encoder" not in str(bench.cluster.host_ids()), "its name is free")
    again = an_order(bench.folder, attempt=2)
    bench.cluster.encode(0, again)
    assert hears(bench, 0, lambda report: report.orders).orders == ((again.key, 2),)
