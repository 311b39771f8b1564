"""Senders of HTTP requests that cost next to nothing, so that the server is what is measured."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Answers:
    """Latencies in seconds of what was answered, and the statuses."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    elapsed_s: float = 0.0


@dataclass
class Connection:
    """One kept-alive connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, host: str, port: int) -> "Connection":
        return cls(*await asyncio.open_connection(host, port))

    async def exchange(self, request: bytes) -> int:
        """Send `request`, read the whole answer, and return its status."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        await self.reader.readexactly(length)
        return int(head[9:12])


def post(path: str, key: str, body: bytes) -> bytes:
    """The bytes of a POST."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: orchard",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def all_busy(host: str, port: int, requests: Sequence[bytes], senders: int, seconds: float) -> Answers:
    """`senders` connections, each of which sends as soon as it was answered."""
    answers, began = Answers(), time.perf_counter()

    async def send(number: int) -> None:
        connection = await Connection.open(host, port)
        turn = number
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            answers.statuses[await connection.exchange(requests[turn % len(requests)])] += 1
            answers.seconds.append(time.perf_counter() - sent)
            turn += senders

    await asyncio.gather(*(send(number) for number in range(senders)))
    answers.elapsed_s = time.perf_counter() - began
    return answers


async def at_rate(host: str, port: int, requests: Sequence[bytes], rate: float, seconds: float) -> Answers:
    """`rate` requests a second, evenly. A late one counts from when it was due: waiting in line is latency, too."""
    answers, idle = Answers(), asyncio.Queue[Connection]()
    for _ in range(32):
        idle.put_nowait(await Connection.open(host, port))
    began = time.perf_counter()

    async def send(turn: int) -> None:
        due = began + turn / rate
        await asyncio.sleep(due - time.perf_counter())
        connection = await idle.get()
        answers.statuses[await connection.exchange(requests[turn % len(requests)])] += 1
        answers.seconds.append(time.perf_counter() - due)
        idle.put_nowait(connection)

    await asyncio.gather(*(send(turn) for turn in range(int(rate * seconds))))
    answers.elapsed_s = time.perf_counter() - began
    return answers
