"""Failpoints: named places where a test, or an operator rehearsing a disaster, makes this process fail. Off by default.

Two variables turn them on, read once at import:

`ORCHARD_FAIL="name:kill9"`, or several after one another with semicolons. Modes: `kill9`, `stop` (SIGSTOP),
`raise`, `sleep=SECONDS`, `partial` (cut the file in question to half, then `kill9`). `@n`: not the first pass of the
place but the n-th. Each acts once in a process. `ORCHARD_FAIL=@folder` reads the mode from the file `folder/name` when
the place is passed, and takes that file away when it acts: armed while the process runs, once for all processes.

`ORCHARD_FAIL_LOG`: a file that gets a line `name pid` before anything happens, the proof that it did.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FAILPOINTS: Final[Mapping[str, str]] = {
    "submit.before_commit": "API: the job is written, its transaction is open",
    "submit.after_commit": "API: the job is committed, nobody was told",
    "upload.stored": "API: the bytes are in storage, no row names them",
    "schedule.applied": "orchestrator: an action of the plan is committed, the cluster knows nothing of it",
    "hosts.started": "orchestrator: the host is started, nothing is recorded",
    "hosts.polled": "orchestrator: a host's reports are in hand, nothing is written",
    "hosts.taken": "orchestrator: reports are committed, the host is not yet told what to vacate",
    "hosts.condemned": "orchestrator: the row says that the host must go, it still lives",
    "hosts.stopped": "orchestrator: the host is killed, its row does not say so",
    "seats.attached": "orchestrator: the host has the seat, the job is still ADMITTED",
    "seats.detached": "orchestrator: the host was told to stop the seat",
    "sweep.moved": "orchestrator: one overdue job was moved, others wait",
    "expire.unlinked": "orchestrator: the row of an expired file says deleted, its bytes are still there",
    "publish.fetched": "orchestrator: the adapter is verified, the registry knows nothing",
    "publish.version": "orchestrator: the registry has the version, nothing else does",
    "publish.registered": "orchestrator: the registry is done, the job is still PUBLISHING",
    "publish.result": "orchestrator: the result file is written, no row names it",
    "publish.before_commit": "orchestrator: SUCCEEDED is written, its transaction is open",
    "webhooks.claimed": "orchestrator: deliveries are claimed, nothing is sent",
    "webhooks.sent": "orchestrator: webhooks are sent, the rows do not say so",
    "checkpoints.erased": "orchestrator: the bytes of a checkpoint are gone, its row says DELETING",
    "attempts.leftover": "orchestrator: one leftover of a dead attempt is gone, others and the mark are to come",
    "worker.step": "worker: before a step of the engine",
    "storage.file": "worker: one file of a checkpoint or an adapter is written (`partial` cuts it)",
    "storage.before_last": "worker: every file is written, the manifest or the rename that proves it is not",
    "checkpoint.written": "worker: the checkpoint is whole, nobody was told",
    "adapter.written": "worker: the adapter is whole, nobody was told",
}
"""Every place there is and what is true when it is passed (`tests/unit/test_failpoints.py` holds the list complete)."""


class FailpointError(Exception):
    """Raised by a failpoint in mode `raise`."""


Hook = Callable[[str, Path | None], None]
_hook: Hook | None = None


def failpoint(name: str, path: Path | None = None) -> None:
    """Fail here if told to. `path` is the file that was just written, for `partial`."""
    if _hook is not None:
        _hook(name, path)


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Have `hook` called at every failpoint of this process, for tests that fail in their own way."""
    global _hook
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before


@dataclass
class Plan:
    """What `ORCHARD_FAIL` says. Raises ValueError for a name or mode that does not exist."""

    text: str
    log: Path | None = None
    _passes: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._folder = Path(self.text[1:]) if self.text.startswith("@") else None
        entries = [] if self._folder else [entry.partition(":") for entry in self.text.split(";") if entry.strip()]
        self._armed = {name.strip(): mode.strip() for name, _, mode in entries}
        if unknown := sorted(self._armed.keys() - FAILPOINTS.keys()):
            raise ValueError(f"ORCHARD_FAIL names {', '.join(unknown)}; known are {', '.join(FAILPOINTS)}")
        for mode in self._armed.values():
            _act(mode, None, rehearse=True)

    def __call__(self, name: str, path: Path | None) -> None:
        """Pass the place `name`."""
        mode = self._due(name)
        if mode is None:
            return
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{name} {os.getpid()}\n")
        _act(mode, path)

    def _due(self, name: str) -> str | None:
        """The mode to act in now. Two threads may pass at once; only one of them gets it."""
        with self._lock:
            text = self._read(name)
            if text is None:
                return None
            mode, _, nth = text.partition("@")
            self._passes[name] += 1
            if self._passes[name] < int(nth or 1) or not self._claim(name):
                return None
            return mode

    def _read(self, name: str) -> str | None:
        if self._folder is None:
            return self._armed.get(name)
        try:
            return (self._folder / name).read_text().strip() or None
        except OSError:
            return None

    def _claim(self, name: str) -> bool:
        del self._passes[name]
        if self._folder is None:
            return self._armed.pop(name, None) is not None
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:  # another process was here first
            return False
        return True


def _act(mode: str, path: Path | None, *, rehearse: bool = False) -> None:
    kind, _, value = mode.partition("@")[0].partition("=")
    match kind:
        case "kill9" | "stop" | "raise" | "partial" if rehearse:
            pass
        case "kill9":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise FailpointError("a failpoint was armed here")
        case "sleep":
            seconds = float(value)
            time.sleep(0 if rehearse else seconds)
        case "partial":
            if path is not None:
                os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            raise ValueError(f"ORCHARD_FAIL has no mode {mode!r}; there are kill9, stop, raise, sleep=SECONDS, partial")


if _text := os.environ.get("ORCHARD_FAIL"):
    _log = os.environ.get("ORCHARD_FAIL_LOG")
    _hook = Plan(_text, Path(_log) if _log else None)
