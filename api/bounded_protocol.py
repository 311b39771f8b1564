"""uvicorn's protocol with the bounds of `api.connections`, and the options that serve an application by it."""

import math
from collections import Counter
from typing import Any, ClassVar, Final

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.connections import MAX_HEAD_BYTES, ConnectionBounds, Overdue, Phase, Progress

SHUTDOWN_S: Final = 10  # event streams have no end of their own
_log = structlog.get_logger("orchard.api")


def server_options(bounds: ConnectionBounds) -> dict[str, Any]:
    """Options of one `uvicorn.run` or `uvicorn.Config`. Nothing here speaks WebSocket, so nothing leaves the bounds."""
    protocol = type("_Bounded", (BoundedProtocol,), {"crowd": Crowd(bounds)})
    return {
        "http": protocol,
        "ws": "none",
        "access_log": False,
        "timeout_keep_alive": math.ceil(bounds.keep_alive_s),
        "timeout_graceful_shutdown": SHUTDOWN_S,
    }


class Crowd:
    """All connections of one server. `waiting` holds those that wait for their client, the longest waiting first."""

    def __init__(self, bounds: ConnectionBounds) -> None:
        self.bounds = bounds
        self.open: set[BoundedProtocol] = set()
        self.waiting: dict[BoundedProtocol, None] = {}
        self._ended: Counter[str] = Counter()
        self._is_looking = False

    def join(self, connection: "BoundedProtocol") -> None:
        """Take a connection in, and end one when there are too many: one that waits for its client, or else itself."""
        self.open.add(connection)
        self.place(connection)
        if not self._is_looking:
            self._is_looking = True
            connection.loop.call_later(self.bounds.look_every_s, self._look, connection.loop)
        if len(self.open) <= self.bounds.max_connections:
            return
        oldest = next((one for one in self.waiting if one is not connection and one.waits_for_client), None)
        if oldest is not None:
            oldest.end(Overdue.CROWDED_OUT)
        else:
            connection.end(Overdue.FULL)

    def place(self, connection: "BoundedProtocol") -> None:
        """Note that the connection was heard of just now, and whom it waits for."""
        self.waiting.pop(connection, None)
        if connection in self.open and connection.progress.phase is not Phase.ANSWER:
            self.waiting[connection] = None

    def leave(self, connection: "BoundedProtocol", reason: Overdue | None = None) -> None:
        """Forget a connection."""
        self.open.discard(connection)
        self.waiting.pop(connection, None)
        if reason is not None:
            self._ended[reason.name.lower()] += 1

    def _look(self, loop: Any) -> None:
        now = self.bounds.clock()
        for connection in list(self.open):
            if reason := connection.overdue(now):
                connection.end(reason)
        if self._ended:
            _log.info("connections ended", **self._ended)
            self._ended.clear()
        self._is_looking = bool(self.open)
        if self._is_looking:
            loop.call_later(self.bounds.look_every_s, self._look, loop)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. `crowd` is set by `server_options`."""

    crowd: ClassVar[Crowd]
    progress: Progress
    _served: RequestResponseCycle | None = None
    """The request that is being answered: `cycle` is the newest one, which waits if others were sent before it."""

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing but the client's next bytes is waited for."""
        match self.progress.phase:
            case Phase.ANSWER:
                return False
            case Phase.HEAD:  # perhaps of a request that was sent while an earlier one is answered
                return not self._is_answering
            case Phase.BODY:
                return not (self.flow.read_paused or self.cycle.waiting_for_100_continue)
        return True

    def overdue(self, now: float) -> Overdue | None:
        """Why this connection is to end, if it is."""
        bounds = self.crowd.bounds
        if self.progress.stopped_reading(self.transport.get_write_buffer_size(), now, bounds):
            return Overdue.RESPONSE
        if not self.waits_for_client:
            self.progress.restart(now)
        return self.progress.overdue(now, bounds)

    def end(self, reason: Overdue) -> None:
        """Close the connection, with a response where one can still be sent."""
        self.crowd.leave(self, reason)
        phase, cycle = self.progress.phase, self.cycle
        can_tell = not self.pipeline and not self.transport.get_write_buffer_size() and phase is not Phase.DRAIN
        if self._is_answering:
            can_tell = can_tell and phase is Phase.BODY and not cycle.response_started
            self._tell_gone(cycle)
        if can_tell and (response := reason.response()):
            self.transport.write(response)
            self.transport.close()
        else:
            self.transport.abort()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: Any) -> None:
        """A client connected."""
        super().connection_made(transport)
        self.progress = Progress(self._now())
        self.crowd.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        super().connection_lost(exc)
        if self._served is not None and not self._served.response_complete:
            self._tell_gone(self._served)
        self.crowd.leave(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.progress.phase is Phase.IDLE:
            self.progress.enter(Phase.HEAD, self._now())
        self.progress.unparsed_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.progress.unparsed_bytes > MAX_HEAD_BYTES:
            self.end(Overdue.LONG_HEAD)
        else:
            self.crowd.place(self)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self.progress.phase is not Phase.HEAD:
            self.progress.enter(Phase.HEAD, self._now())

    def on_headers_complete(self) -> None:
        """The head is there."""
        super().on_headers_complete()
        if not self.pipeline:
            self._served = self.cycle
        self.progress.enter(Phase.BODY, self._now())

    def on_body(self, body: bytes) -> None:
        """A piece of the body is there."""
        super().on_body(body)
        self.progress.body_bytes += len(body)
        self.progress.unparsed_bytes = 0

    def on_message_complete(self) -> None:
        """The request is there."""
        super().on_message_complete()
        drained = self.progress.phase is Phase.DRAIN
        self.progress.enter(Phase.IDLE if drained else Phase.ANSWER, self._now())

    def on_response_complete(self) -> None:
        """The response is written."""
        was_last = not self.pipeline
        if not was_last:
            self._served = self.pipeline[-1][0]
        super().on_response_complete()
        if was_last and self.progress.phase is Phase.ANSWER:
            self.progress.enter(Phase.IDLE, self._now())
        elif was_last and self.progress.phase is Phase.BODY:
            self.progress.enter(Phase.DRAIN, self._now())
        self.crowd.place(self)

    def resume_writing(self) -> None:
        """The client has read most of what was waiting for it."""
        super().resume_writing()
        self.progress.unread_since = None

    @staticmethod
    def _tell_gone(cycle: RequestResponseCycle) -> None:
        cycle.disconnected = True
        cycle.message_event.set()

    def _now(self) -> float:
        return self.crowd.bounds.clock()
