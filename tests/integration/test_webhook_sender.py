"""One request to a receiver, over real sockets: where it goes, what it says it is, and what it will not do."""

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.lookups import Lookups
from orchestrator.webhooks.send import DeliveryResponse, Sender
from tests.builders.receiver import Receiver, certificate_for, receiving

DEV = EgressPolicy(allow_http=True, allow_private=True)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


def leading_to(*addresses: str) -> Lookups:
    return Lookups(lambda _host, _port: addresses)


def post(sender: Sender, url: str) -> DeliveryResponse:
    return asyncio.run(sender.post("tenant-1", url, b'{"a":1}', {"webhook-id": "wh_1"}))


def test_the_body_goes_to_the_url_with_its_path_and_query(receiver: Receiver):
    assert post(Sender(DEV), receiver.url) == DeliveryResponse(200)
    taken = receiver.last
    assert (taken.path, json.loads(taken.body), taken.headers["webhook-id"]) == ("/hook?from=orchard", {"a": 1}, "wh_1")
    assert taken.headers["content-type"] == "application/json"


def test_the_checked_address_is_connected_to_and_the_name_stays_in_the_host_header(receiver: Receiver):
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    assert post(Sender(DEV, leading_to("127.0.0.1")), url).status == 200
    assert receiver.last.headers["host"] == url.split("/")[2]


def test_a_dead_address_gives_way_to_the_next_one_of_the_name(receiver: Receiver):
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    assert post(Sender(DEV, leading_to("127.0.0.2", "127.0.0.1")), url).status == 200


def test_nothing_is_sent_to_a_name_that_leads_home(receiver: Receiver):
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    answer = post(Sender(EgressPolicy(allow_http=True), leading_to("127.0.0.1")), url)
    assert answer.status is None
    assert "private" in str(answer.error)
    assert receiver.taken == []


def test_a_name_is_looked_up_again_for_every_request(receiver: Receiver):
    answers = iter((["93.184.216.34"], ["127.0.0.1"]))

    rebinding = Lookups(lambda _host, _port: next(answers))
    egress = EgressPolicy(allow_http=True)
    assert egress.checked(asyncio.run(rebinding.addresses("tenant-1", "hooks.example", 80))) == ["93.184.216.34"]
    answer = post(Sender(egress, rebinding), receiver.url.replace("127.0.0.1", "hooks.example"))
    assert "private" in str(answer.error)


def test_redirects_are_not_followed(receiver: Receiver):
    receiver.answers, receiver.headers = [302], {"location": receiver.url}
    assert post(Sender(DEV), receiver.url).status == 302
    assert len(receiver.taken) == 1


def test_a_receiver_that_hangs_costs_no_more_than_the_time_limit(receiver: Receiver):
    receiver.hold.clear()
    answer = post(Sender(DEV, timeout_s=0.3), receiver.url)
    assert answer == DeliveryResponse(None, "No answer within 0.3 s.")


def test_of_a_huge_answer_only_the_beginning_is_read(receiver: Receiver):
    receiver.body = bytes(64_000_000)
    assert post(Sender(DEV), receiver.url).status == 200


def test_retry_after_is_read_in_seconds_only(receiver: Receiver):
    receiver.answers, receiver.headers = [503], {"retry-after": "120"}
    assert post(Sender(DEV), receiver.url) == DeliveryResponse(503, retry_after_s=120)
    receiver.headers = {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert post(Sender(DEV), receiver.url) == DeliveryResponse(503)


def test_a_closed_port_and_an_unknown_name_are_told_apart_in_words(receiver: Receiver):
    assert post(Sender(DEV), "http://127.0.0.1:1/").error == "The connection was refused."

    def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("secret.internal")

    url = receiver.url.replace("127.0.0.1", "hooks.example")
    assert post(Sender(DEV, Lookups(unknown)), url).error == "The host's name could not be resolved."


def test_a_proxy_of_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert post(Sender(DEV), receiver.url).status == 200


def test_over_https_the_certificate_must_be_of_the_name_though_an_address_is_dialled(tmp_path: Path):
    shows, trusts = certificate_for("hooks.example", tmp_path)
    names: list[str | None] = []
    shows.sni_callback = lambda _socket, name, _context: names.append(name)
    with receiving(shows, "hooks.example") as receiver:
        sender = Sender(EgressPolicy(allow_private=True), leading_to("127.0.0.1"), trusts)
        assert post(sender, receiver.url).status == 200
        other = post(sender, receiver.url.replace("hooks.example", "other.example"))
        stranger = post(Sender(sender.egress, sender.lookups, ssl.create_default_context()), receiver.url)
    assert names[0] == "hooks.example"
    assert (other.status, stranger.status) == (None, None)
    assert other.error == stranger.error == "The host's certificate was not accepted."
    assert len(receiver.taken) == 1


def test_many_are_sent_at_once(receiver: Receiver):
    receiver.hold.clear()
    sender = Sender(DEV)

    async def all_of_them() -> list[DeliveryResponse]:
        sent = [asyncio.create_task(sender.post("tenant-1", receiver.url, b"{}", {})) for _ in range(8)]
        while len(receiver.taken) < 8:  # all have arrived while none was answered
            await asyncio.sleep(0.01)
        receiver.hold.set()
        return await asyncio.gather(*sent)

    assert {answer.status for answer in asyncio.run(all_of_them())} == {200}
