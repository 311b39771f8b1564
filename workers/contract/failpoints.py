"""Failpoints: named places where a test, or an operator in a disaster drill, makes this process fail. Off by default.

Two variables, read once at import, turn them on:

`ORCHARD_FAIL="name:kill9"`, or several separated by semicolons. Modes: `kill9`, `stop` (SIGSTOP), `raise`,
`sleep=SECONDS`, `partial` (truncate the file to half, then `kill9`). `@n` acts on the n-th pass instead of the first.
Each acts once per process. `ORCHARD_FAIL=@folder` reads the mode from the file `folder/name` at each pass and deletes
the file when it acts, so a running process can be armed, and only one process acts.

`ORCHARD_FAIL_LOG`: a file that receives the line `name pid` before the failpoint acts, as proof that it did.
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
    "submit.after_commit": "API: the job is committed, the client has no answer",
    "upload.chunk": "API: a part of the bytes is in storage, more are to come",
    "upload.stored": "API: the bytes are in storage, no row refers to them",
    "schedule.applied": "orchestrator: an action of the plan is committed, the cluster has not been called",
    "hosts.started": "orchestrator: the host is started, nothing is recorded",
    "hosts.polled": "orchestrator: a host's reports are received, nothing is written",
    "hosts.taken": "orchestrator: reports are committed, the host has not been told which seats to vacate",
    "hosts.failed": "orchestrator: a host has said that it cannot load its base, nothing is written",
    "hosts.marked_stopping": "orchestrator: the row marks the host as stopping, it still runs",
    "hosts.stopped": "orchestrator: the host is killed, its row is not updated",
    "seats.attached": "orchestrator: the host has the seat, the job is still ADMITTED",
    "seats.detached": "orchestrator: the host was told to stop the seat",
    "bases.ended_waiting": "orchestrator: one job for an unusable base has ended, others wait",
    "bases.lifted": "orchestrator: one mark of a base is lifted, others are to be reviewed",
    "deadlines.moved": "orchestrator: one overdue job was moved, others wait",
    "expire.unlinked": "orchestrator: the row of an expired file is marked deleted, its bytes still exist",
    "publish.fetched": "orchestrator: the adapter is verified, the registry has not been called",
    "publish.version": "orchestrator: the registry has the version, nothing else is recorded",
    "publish.registered": "orchestrator: the registry is done, the job is still PUBLISHING",
    "publish.result": "orchestrator: the result file is written, no row refers to it",
    "publish.before_commit": "orchestrator: SUCCEEDED is written, its transaction is open",
    "webhooks.claimed": "orchestrator: deliveries are claimed, nothing is sent",
    "webhooks.sent": "orchestrator: webhooks are sent, their rows are not updated",
    "checkpoints.erased": "orchestrator: a checkpoint's bytes are deleted, its row is still DELETING",
    "attempts.leftover": "orchestrator: one leftover of a dead attempt is deleted, others and the mark remain",
    "orphans.adopted": "orchestrator: a file without a row has the row of a deleted one, its bytes still exist",
    "rows.fetched": "encoder: a tenant's rows are on the machine's disk, none is read",
    "encoded.fetched": "worker: a tenant's encoded rows are on the host's disk, none is mapped",
    "encoding.written": "encoder: the rows are encoded, nothing of them is in storage",
    "encoding.stored": "encoder: the encoded rows are in storage, not yet reported",
    "encodings.claimed": "orchestrator: rows say that an encoder is at work on a job's files, it was not told",
    "encodings.sent": "orchestrator: an encoder has a job's files, nothing follows yet",
    "encodings.polled": "orchestrator: an encoder's report is received, nothing is written",
    "encodings.promoted": "orchestrator: one job whose files are encoded has moved, others wait",
    "encodings.erased": "orchestrator: the bytes of an encoding are deleted, its row is still DELETING",
    "worker.step": "worker: before a step of the engine",
    "storage.file": "worker: one file of a checkpoint or an adapter is written (`partial` truncates it)",
    "storage.before_last": "worker: every file is written, the manifest or rename that completes them is not",
    "checkpoint.written": "worker: the checkpoint is complete, not yet reported",
    "adapter.written": "worker: the adapter is complete, not yet reported",
}
"""Every failpoint and the state when it is passed (`tests/unit/test_failpoints.py` keeps the list complete)."""


class FailpointError(Exception):
    """Raised by a failpoint in mode `raise`."""


Hook = Callable[[str, Path | None], None]
_hook: Hook | None = None


def failpoint(name: str, path: Path | None = None) -> None:
    """Fail here if this failpoint is armed. `path` is the file just written, for `partial`."""
    if _hook is not None:
        _hook(name, path)


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Call `hook` at every failpoint of this process, for tests that inject their own failures."""
    global _hook
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before


@dataclass
class Plan:
    """The failures that `ORCHARD_FAIL` configures. Raises ValueError for an unknown name or mode."""

    text: str
    log: Path | None = None
    _passes: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._folder = Path(self.text[1:]) if self.text.startswith("@") else None
        entries = [] if self._folder else [entry.partition(":") for entry in self.text.split(";") if entry.strip()]
        self._armed = {name.strip(): mode.strip() for name, _, mode in entries}
        if unknown := sorted(self._armed.keys() - FAILPOINTS.keys()):
            raise ValueError(f"ORCHARD_FAIL has unknown names {', '.join(unknown)}; use one of {', '.join(FAILPOINTS)}")
        for mode in self._armed.values():
            _act(mode, None, rehearse=True)

    def __call__(self, name: str, path: Path | None) -> None:
        """Pass the failpoint `name`."""
        mode = self._due(name)
        if mode is None:
            return
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{name} {os.getpid()}\n")
        _act(mode, path)

    def _due(self, name: str) -> str | None:
        """The mode to act in now. If two threads pass at once, only one gets it."""
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
        except FileNotFoundError:  # another process claimed it first
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
            raise ValueError(f"ORCHARD_FAIL has no mode {mode!r}; use kill9, stop, raise, sleep=SECONDS or partial")


if _text := os.environ.get("ORCHARD_FAIL"):
    _log = os.environ.get("ORCHARD_FAIL_LOG")
    _hook = Plan(_text, Path(_log) if _log else None)
