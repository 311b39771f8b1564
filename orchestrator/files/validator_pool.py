"""Processes that check files (`orchestrator.files.validator`), one for each file at a time.

A process that has checked a file waits for the next one; one that died, or whose file was given up, is replaced.
"""

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, Final, cast

import structlog

from orchestrator.errors import ValidationInterrupted
from orchestrator.files.validate import Findings
from orchestrator.files.validator import ANY_SHAPE, EXIT_OUT_OF_MEMORY, FINDINGS, read_frame, write_frame
from workers.contract.rows import RowIssue

MEMORY_BYTES: Final = 2**30
MAX_IDLE: Final = 2
"""Processes that wait for a file; more end after theirs. Each holds about 40 MB."""
LAST_WORDS_S: Final = 10.0
"""From a broken pipe to the end of its process, at most."""
_OUT_OF_MEMORY: Final = frozenset({EXIT_OUT_OF_MEMORY, -signal.SIGABRT})
"""How a process ends that its own memory limit stopped; native code aborts."""
_CRASHED: Final = frozenset({-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE})
"""How one ends in which native code met bytes that it cannot take."""
_SYSTEM_MEMORY: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1"}
"""pyarrow's own pools reserve more address space than they use."""
_log = structlog.get_logger()


class ValidatorPool:
    """Thread-safe. Starts processes as files come; they end with this process, however it ends."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        """`memory_bytes`: of the address space of each. They run on the cores that this process may use now."""
        self._memory_bytes = memory_bytes
        self._cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        weakref.finalize(self, _end_all, self._idle)

    @contextmanager
    def check(self, wanted: str | None = None) -> Iterator["FileCheck"]:
        """A check of one file: feed its bytes, then ask for the findings. Raises: ValidationInterrupted.

        `wanted`: the shape of its rows that the owner named.
        """
        process = self._take()
        try:
            check = FileCheck(process, wanted)
            yield check
        except BaseException:
            process.end()
            raise
        if check.finished:
            self._give_back(process)
        else:
            process.end()

    def _take(self) -> "_Process":
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                return _Process(self._memory_bytes, self._cores)
            if process.runs:
                return process
            process.end()

    def _give_back(self, process: "_Process") -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE:
                self._idle.append(process)
                return
        process.end()


class FileCheck:
    """One file that a process checks."""

    def __init__(self, process: "_Process", wanted: str | None = None) -> None:
        self._process = process
        self._lines = 1
        self._findings: Findings | None = None
        self._send(ANY_SHAPE if wanted is None else wanted.encode())

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def finished(self) -> bool:
        """Whether the process answered and is ready for the next file."""
        return self._findings is not None and self._process.runs

    def feed(self, chunk: bytes) -> None:
        """Have the lines checked that `chunk` completes. Raises: ValidationInterrupted."""
        if chunk and self._findings is None:
            self._send(chunk)
            self._lines += chunk.count(b"\n")

    def finish(self) -> Findings:
        """All findings. Raises: ValidationInterrupted."""
        if self._findings is None:
            self._send(b"")
        if self._findings is None:
            answer = self._process.receive()
            self._findings = self._judge_death() if answer is None else FINDINGS.validate_json(answer)
        return self._findings

    def _send(self, frame: bytes) -> None:
        if not self._process.send(frame):
            self._findings = self._judge_death()

    def _judge_death(self) -> Findings:
        """The findings if the file ended the process. Raises: ValidationInterrupted if something else did."""
        status = self._process.status()
        _log.warning("a validator ended over a file", pid=self._process.pid, status=status, line=self._lines)
        if status in _CRASHED:
            message = "the file makes the library that reads it crash; write it again, or upload its rows as JSONL"
            return Findings(issue_count=1, issues=[RowIssue(line=1, code="damaged_file", message=message)])
        if status not in _OUT_OF_MEMORY:
            raise ValidationInterrupted
        message = "checking the file up to here takes more memory than the server has for it; split its largest rows"
        return Findings(issue_count=1, issues=[RowIssue(line=self._lines, code="row_too_large", message=message)])


class _Process:
    """One running validator."""

    def __init__(self, memory_bytes: int, cores: list[int]) -> None:
        argv = [sys.executable, "-m", "orchestrator.files.validator", str(memory_bytes), ",".join(map(str, cores))]
        # It is given where the code lies, and none of the API's secrets.
        env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path) or ".", "LC_ALL": "C.UTF-8"}
        env |= _SYSTEM_MEMORY | ({"TMPDIR": folder} if (folder := os.environ.get("TMPDIR")) else {})
        try:
            self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        except OSError as error:
            raise ValidationInterrupted from error

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def runs(self) -> bool:
        return self._popen.poll() is None

    def send(self, frame: bytes) -> bool:
        """False: it is gone."""
        try:
            write_frame(cast(IO[bytes], self._popen.stdin), frame)
        except OSError:
            return False
        return True

    def receive(self) -> bytes | None:
        """Its answer. None: it is gone."""
        return read_frame(cast(IO[bytes], self._popen.stdout))

    def status(self) -> int:
        """How it ended, once its pipe is broken."""
        try:
            return self._popen.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            return self.end()

    def end(self) -> int:
        """Kill it, unless it has ended. Its exit status."""
        self._popen.kill()
        status = self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout):
            with suppress(OSError):  # what was not sent yet cannot be sent
                cast(IO[bytes], stream).close()
        return status


@cache
def shared_validators() -> ValidatorPool:
    """The pool of this process, for who needs no other limit."""
    return ValidatorPool()


def _end_all(processes: list[_Process]) -> None:
    while processes:
        processes.pop().end()
