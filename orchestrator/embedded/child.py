"""A child process of the stack: what it is (`ChildSpec`) and the running one (`Child`)."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class ChildFailed(Exception):
    """A child ended, or did not become ready in time, while the stack was starting."""


@dataclass(frozen=True)
class ChildSpec:
    """How to run one process and how to tell that it serves."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the stack itself."""
    awaits: str = "it to serve"
    """What `ready` asks for, in words."""
    still_s: float = 120.0
    """A start without a sign of progress for so long has failed."""
    ready_timeout_s: float = 1_800.0
    """A start that takes longer has failed in any case."""
    stop_grace_s: float = 10.0
    """Between SIGTERM and SIGKILL; 0: SIGKILL at once."""


class Child:
    """One run of a `ChildSpec`, in a session of its own: Ctrl-C in the terminal reaches the stack alone."""

    def __init__(self, spec: ChildSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                spec.argv,
                env={**os.environ, **spec.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id; also the id of its session and process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end, or end it at once if it has no grace. Returns at once."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGTERM if self.spec.stop_grace_s else signal.SIGKILL)

    def wait(self) -> None:
        """Wait out the grace, then kill the child and whatever is left of its process group."""
        try:
            self._process.wait(self.spec.stop_grace_s or None)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
