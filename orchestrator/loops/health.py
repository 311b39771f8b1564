"""The orchestrator's probes over HTTP: `/healthz`, that the process lives, and `/readyz`, that its loops make passes.

A probe reads what the loops recorded and makes no call: it answers while the database or Ray is away.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from orchestrator.leadership.elector import Elector
from orchestrator.loops.runner import Loop
from orchestrator.steps.step import Counts, Step

CONTROL: Final = "control"
LATE_PASSES: Final = 3
LEAST_PAUSE_S: Final = 10.0
"""Seconds that a pass may wait for Ray or the database, however short the loop's pause is."""


class Passes:
    """When each loop ended its last pass. Written by the loops' threads, read by the probes'."""

    def __init__(self, loops: Sequence[Loop], ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._pauses = {loop.name: loop.pause_s for loop in loops}
        self._ended: dict[str, float] = {}
        self.loops = [replace(loop, step=_Noted(loop.step, loop.name, self)) for loop in loops]
        """The same loops, whose passes are noted."""

    def note(self, name: str) -> None:
        """The loop of that name ended a pass, well or not."""
        self._ended[name] = self._ticks()

    def age_s(self, name: str) -> float | None:
        """Seconds since its last pass; None: it has not made one."""
        ended = self._ended.get(name)
        return None if ended is None else self._ticks() - ended

    def is_late(self, name: str) -> bool:
        """Whether its next pass should have ended long ago. One that has made none yet is not on time either."""
        age = self.age_s(name)
        return age is None or age > LATE_PASSES * max(self._pauses[name], LEAST_PAUSE_S)

    def report(self, role: Elector) -> dict[str, Any]:
        """What `/readyz` says. The control loop decides: the others may be at a large file or a slow receiver."""
        return {
            "ready": not self.is_late(CONTROL),
            "role": "standby" if role.grant is None else "leader",
            "last_pass_age_s": _rounded(self.age_s(CONTROL)),
            "loops": {
                name: {"last_pass_age_s": _rounded(self.age_s(name)), "late": self.is_late(name)}
                for name in self._pauses
            },
        }


@dataclass(frozen=True)
class _Noted:
    """A step after whose every pass a note is made."""

    step: Step
    name: str
    passes: Passes

    def run_once(self, now: datetime) -> Counts:
        """One pass."""
        try:
            return self.step.run_once(now)
        finally:
            self.passes.note(self.name)


class HealthServer:
    """Serves the probes in a thread of its own until `close`. Raises OSError when the port is taken."""

    def __init__(self, host: str, port: int, report: Callable[[], dict[str, Any]]) -> None:
        self._server = ThreadingHTTPServer((host, port), _handler(report))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


def _handler(report: Callable[[], dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Probe(BaseHTTPRequestHandler):
        """One request."""

        timeout = 10  # seconds; who connects and says nothing keeps no thread

        def do_GET(self) -> None:
            """Answer a probe."""
            match self.path.partition("?")[0]:
                case "/healthz":
                    self._answer(HTTPStatus.OK, {"status": "ok"})
                case "/readyz":
                    said = report()
                    self._answer(HTTPStatus.OK if said["ready"] else HTTPStatus.SERVICE_UNAVAILABLE, said)
                case _:
                    self._answer(HTTPStatus.NOT_FOUND, {"error": "there are /healthz and /readyz"})

        def log_message(self, format: str, *args: Any) -> None:
            """Probes come every few seconds: none is logged."""

        def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Probe


def _rounded(age_s: float | None) -> float | None:
    return None if age_s is None else round(age_s, 3)
