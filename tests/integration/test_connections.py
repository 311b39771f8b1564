"""Connections on real sockets, in a time that only passes when the test says so."""

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from api.app import create_app
from api.connections import MAX_HEAD_BYTES, ConnectionBounds
from tests.builders.live_api import Api, serving
from tests.builders.waiting import wait_until

HALF = b"GET /healthz HTTP/1.1\r\nhost: x\r\n"
WHOLE = HALF + b"\r\n"
OK = b"HTTP/1.1 200 OK"
MB = 1_000_000


class Clock:
    """Seconds that pass by `pass_s` alone."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


class Application:
    """`POST /upload` counts bytes, `POST /lazy` reads when it may, `GET /big` sends 64 MB, `GET /slow` waits,
    `GET /stream` sends them until its client goes."""

    def __init__(self) -> None:
        self.received = 0
        self.started = 0
        self.disconnected = 0
        self.may_go_on = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.started += 1
        match scope["path"]:
            case "/big":
                await self._send_big(send)
                return
            case "/stream":
                await self._stream(receive, send)
                return
            case "/refuse":
                pass
            case "/slow" | "/lazy":
                await anyio.to_thread.run_sync(self.may_go_on.wait)
        if scope["method"] == "POST" and scope["path"] != "/refuse" and not await self._read(receive):
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def _read(self, receive: Receive) -> bool:
        while True:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected += 1
                return False
            self.received += len(message["body"])
            if not message["more_body"]:
                return True

    async def _stream(self, receive: Receive, send: Send) -> None:
        await receive()
        async with anyio.create_task_group() as sending:
            sending.start_soon(self._send_big, send)
            if (await receive())["type"] == "http.disconnect":
                self.disconnected += 1
            sending.cancel_scope.cancel()

    async def _send_big(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for n in range(64):
            await send({"type": "http.response.body", "body": bytes(MB), "more_body": n < 63})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def application() -> Iterator[Application]:
    made = Application()
    yield made
    made.may_go_on.set()


@pytest.fixture
def serve(clock: Clock, application: Application) -> Any:
    @contextmanager
    def served(app: Any = application, **changes: Any) -> Iterator[tuple[str, int]]:
        with serving(app, ConnectionBounds(clock=clock, look_every_s=0.01, **changes)) as url:
            host, _, port = url.removeprefix("http://").partition(":")
            yield host, int(port)

    return served


@contextmanager
def connected(address: tuple[str, int], sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(sent)
        yield client


def rest(client: socket.socket) -> bytes:
    """All that still comes until the server closes. Raises TimeoutError if it does not."""
    parts = []
    try:
        while part := client.recv(MB):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def answers(address: tuple[str, int]) -> None:
    """Whoever connects is answered; so by now the server has read what was sent to it before, and looked around."""
    with connected(address, WHOLE) as client:
        assert client.recv(MB).startswith(OK)


def upload(size: int, path: str = "/upload") -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n".encode()


def error_of(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def test_half_sent_requests_take_no_place_from_others_and_are_closed_in_time(
    serve: Any, api: Api, clock: Clock
) -> None:
    with serve(create_app(api.services), max_connections=100) as address, ExitStack() as stack:
        half_open = [stack.enter_context(connected(address, HALF)) for _ in range(300)]
        url = f"http://{address[0]}:{address[1]}"
        for _ in range(3):
            assert httpx2.get(f"{url}/v1/x/whoami", headers=api.headers, timeout=30).status_code == 200
        assert [rest(client) for client in half_open[:200]] == [b""] * 200, "the oldest made room"

        clock.pass_s(21)
        told = [rest(client) for client in half_open[200:]]
        assert {error_of(response) for response in told if response} == {(408, "request_timeout")}
        assert sum(map(bool, told)) >= 90
        assert httpx2.get(f"{url}/healthz", timeout=30).status_code == 200


def test_a_head_that_drips_is_ended_though_each_byte_is_new(serve: Any, clock: Clock) -> None:
    with serve() as address, connected(address, HALF) as client:
        for _ in range(100):
            answers(address)
            if select.select([client], [], [], 0)[0]:
                break
            clock.pass_s(5)
            client.sendall(b"x-a: b\r\n")
        told = rest(client)  # nothing when a drop met the closed socket
        assert not told or error_of(told) == (408, "request_timeout")


@pytest.mark.parametrize("drip", [b"G", b"\r\n"])
def test_a_byte_after_a_response_does_not_keep_a_connection_for_ever(serve: Any, clock: Clock, drip: bytes) -> None:
    with serve() as address, connected(address, WHOLE) as client:
        assert client.recv(MB).startswith(OK)
        client.sendall(drip)
        answers(address)
        clock.pass_s(21)
        assert rest(client).startswith(b"HTTP/1.1 408")


def test_connections_without_a_request_are_closed_and_used_ones_are_kept(serve: Any, clock: Clock) -> None:
    with serve() as address, connected(address) as silent, connected(address) as used:
        for _ in range(4):
            clock.pass_s(50)
            used.sendall(WHOLE)
            assert used.recv(MB).startswith(OK)
        assert rest(silent) == b""
        clock.pass_s(76)
        assert rest(used) == b""


def test_requests_sent_at_once_are_answered_in_turn_and_leave_a_usable_connection(serve: Any, clock: Clock) -> None:
    posts = upload(3) + b"abc" + upload(2) + b"de"
    with serve() as address, connected(address, WHOLE + posts + HALF) as client:
        got = b""
        while got.count(OK) < 3:
            got += client.recv(MB)
        client.sendall(b"\r\n")
        assert client.recv(MB).startswith(OK)
        clock.pass_s(76)
        assert rest(client) == b""


def test_an_endless_head_is_refused_before_it_fills_the_memory(serve: Any) -> None:
    with serve() as address, connected(address, b"GET / HTTP/1.1\r\nx-long: ") as client:
        with pytest.raises(OSError):  # noqa: PT011, PT012  # reset or broken, as the system has it
            for _ in range(1_000):
                client.sendall(b"a" * MAX_HEAD_BYTES)
        answers(address)


def test_a_head_that_is_too_long_is_told_so(serve: Any) -> None:
    with serve() as address, connected(address, HALF + b"x-long: " + b"a" * MAX_HEAD_BYTES) as client:
        assert error_of(rest(client)) == (431, "headers_too_large")


def test_a_slow_upload_of_100_mb_arrives(serve: Any, clock: Clock, application: Application) -> None:
    with serve() as address, connected(address, upload(100 * MB)) as client:
        for n in range(1, 101):
            client.sendall(bytes(MB))
            wait_until(lambda n=n: application.received == n * MB, "a piece of the upload", pause_s=0.001)
            clock.pass_s(55)
        assert client.recv(MB).startswith(OK)


@pytest.mark.parametrize("trickle", [0, 1_000])
def test_an_upload_that_stalls_is_ended(serve: Any, clock: Clock, application: Application, trickle: int) -> None:
    with serve() as address, connected(address, upload(100 * MB) + bytes(MB)) as client:
        wait_until(lambda: application.received == MB, "the first piece")
        for _ in range(100):
            answers(address)
            if select.select([client], [], [], 0)[0]:
                break
            client.sendall(bytes(trickle))
            clock.pass_s(30)
        told = rest(client)  # nothing when a drop met the closed socket
        assert (trickle and not told) or error_of(told) == (408, "request_timeout")
        wait_until(lambda: application.disconnected == 1, "that the application is told")


def test_time_that_the_server_takes_is_not_the_clients(serve: Any, clock: Clock, application: Application) -> None:
    with (
        serve() as address,
        connected(address, b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n") as waiting,
        connected(address, upload(MB, "/lazy")) as unread,
    ):
        sender = threading.Thread(target=unread.sendall, args=(bytes(MB),))
        sender.start()
        wait_until(lambda: application.started == 2, "both requests")
        with connected(
            address, upload(10, "/lazy").replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
        ) as polite:
            wait_until(lambda: application.started == 3, "the third request")
            with connected(address) as canary:
                answers(address)
                clock.pass_s(1_000)
                assert rest(canary) == b"", "the server has looked at all connections since"
            application.may_go_on.set()
            assert polite.recv(MB).startswith(b"HTTP/1.1 100")
            polite.sendall(bytes(10))
            for client in (waiting, unread, polite):
                assert client.recv(MB).startswith(OK)
        sender.join()


def test_a_response_that_nobody_reads_is_given_up_and_a_slow_reader_gets_it_whole(serve: Any, clock: Clock) -> None:
    request = b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with serve() as address, connected(address, request) as reader, connected(address, request) as idler:
        got = 0
        for _ in range(20):
            got += len(reader.recv(MB, socket.MSG_WAITALL))
            clock.pass_s(40)
            answers(address)
        got += len(rest(reader))
        assert got > 64 * MB
        assert len(rest(idler)) < 64 * MB


def test_a_request_with_others_sent_behind_it_is_told_that_its_client_is_gone(
    serve: Any, clock: Clock, application: Application
) -> None:
    stream = b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n"
    with serve() as address, connected(address, stream + WHOLE) as idler:
        assert idler.recv(1).startswith(OK[:1])

        def told() -> bool:
            clock.pass_s(61)  # once too much of the response waits, the next look ends the connection
            return application.disconnected == 1

        wait_until(told, "the word that the client is gone")
        rest(idler)
    assert application.started == 1, "what was sent behind it is not begun"


def test_the_rest_of_a_refused_upload_is_not_read_for_ever(serve: Any, clock: Clock) -> None:
    with serve() as address, connected(address, upload(100 * MB, "/refuse")) as client:
        assert client.recv(MB).startswith(OK)
        with pytest.raises(OSError):  # noqa: PT011, PT012
            for _ in range(99):
                client.sendall(bytes(MB))
                clock.pass_s(5)
                answers(address)


def test_a_connection_beyond_the_bound_is_told_so_when_all_others_are_at_work(
    serve: Any, application: Application
) -> None:
    with serve(max_connections=2) as address, ExitStack() as stack:
        slow = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"
        busy = [stack.enter_context(connected(address, slow)) for _ in range(2)]
        wait_until(lambda: application.started == 2, "two requests at work")
        with connected(address) as third:
            response = rest(third)
        assert error_of(response) == (503, "too_many_connections")
        assert b"\r\nretry-after: 2\r\n" in response

        application.may_go_on.set()
        assert all(client.recv(MB).startswith(OK) for client in busy)
        answers(address)
