"""Five hundred event streams over raw connections, each of which must receive every event of its job once."""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

EVENT = re.compile(rb"^id: ?(\S+)", re.MULTILINE)


@dataclass
class Stream:
    """One connection: the ids of the events it received, and how it ended."""

    job_id: str
    ids: list[str] = field(default_factory=list)
    error: str | None = None

    async def follow(self, host: str, port: int, key: str, until: float) -> None:
        """Read until `until`, in seconds of the monotonic clock."""
        try:
            reader, writer = await asyncio.open_connection(host, port)
            path = f"/v1/fine_tuning/jobs/{self.job_id}/events?stream=true"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: orchard\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                self.error = head.splitlines()[0].decode()
                return
            await self._read(reader, until)
            writer.close()
        except (OSError, EOFError) as error:  # refused, or closed before the head was whole
            self.error = f"{type(error).__name__}: {error}"

    async def _read(self, reader: asyncio.StreamReader, until: float) -> None:
        rest = b""
        while (left := until - time.monotonic()) > 0:
            try:
                part = await asyncio.wait_for(reader.read(65_536), left)
            except TimeoutError:
                return
            if not part:
                self.error = "the stream ended"
                return
            whole, _, rest = (rest + part).rpartition(b"\n")
            self.ids += [match.decode() for match in EVENT.findall(whole)]


def follow_all(url: str, keys: list[str], jobs: list[str], count: int, seconds: float) -> dict[str, Any]:
    """`count` streams over the keys and jobs in turn. `ids`: the events of each stream, by job."""
    target = urlsplit(url)
    streams = [Stream(jobs[number % len(jobs)]) for number in range(count)]

    async def crowd() -> None:
        until = time.monotonic() + seconds
        turns = ((stream, keys[number % len(keys)]) for number, stream in enumerate(streams))
        host, port = target.hostname or "", target.port or 0
        await asyncio.gather(*(stream.follow(host, port, key, until) for stream, key in turns))

    asyncio.run(crowd())
    errors = Counter(stream.error for stream in streams if stream.error)
    return {"errors": dict(errors), "ids": [(stream.job_id, stream.ids) for stream in streams]}
