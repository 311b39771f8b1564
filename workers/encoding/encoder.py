"""`WatchedEncoder`: gives orders to a process of its own, ends it when a row takes too long, and starts another."""

import contextlib
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import psutil

import workers
from workers.contract.encoding import MAX_ORDERS, EncodeOrder, EncoderBusy, EncodeResult, EncoderReport
from workers.contract.errors import ErrorCode
from workers.contract.rows import RowIssue
from workers.encoding.board import Board, Position

LOOK_S: Final = 0.05
RESULTS_KEPT: Final = 2 * MAX_ORDERS
COMMAND: Final = (sys.executable, "-m", "workers.encoding.process")
log = logging.getLogger(__name__)


class WatchedEncoder:
    """Implements `Encoder`. Calls only read and change tables; a thread does the rest."""

    def __init__(self, command: Sequence[str] = COMMAND, clock: Callable[[], float] = time.monotonic) -> None:
        """`command` starts the process; the descriptor of its board is added."""
        self._command = tuple(command)
        self._clock = clock
        self._lock = threading.Lock()
        self._orders: deque[EncodeOrder] = deque()
        self._results: deque[EncodeResult] = deque(maxlen=RESULTS_KEPT)
        self._abandoned: set[str] = set()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._process: _Process | None = None
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)
        self._thread.start()

    def encode(self, order: EncodeOrder) -> None:
        """See `Encoder.encode`."""
        with self._lock:
            known = [(held.key, held.attempt) for held in self._orders]
            known += [(result.key, result.attempt) for result in self._results]
            if (order.key, order.attempt) in known:
                return
            if order.key in {held.key for held in self._orders}:
                self._orders = deque(order if held.key == order.key else held for held in self._orders)
                self._abandoned.discard(order.key)
                return
            if len(self._orders) >= MAX_ORDERS:
                raise EncoderBusy(f"the encoder holds {MAX_ORDERS} orders already")
            self._orders.append(order)
            self._abandoned.discard(order.key)
        self._wake.set()

    def abandon(self, key: str) -> None:
        """See `Encoder.abandon`."""
        with self._lock:
            if self._orders and self._orders[0].key == key:
                self._abandoned.add(key)
            else:
                self._orders = deque(order for order in self._orders if order.key != key)

    def poll(self) -> EncoderReport:
        """See `Encoder.poll`."""
        with self._lock:
            process = self._process
            return EncoderReport(
                pid=0 if process is None else process.pid,
                orders=tuple((order.key, order.attempt) for order in self._orders),
                rows_read=process.board.read().rows if process is not None and self._orders else 0,
                results=tuple(self._results),
            )

    def close(self) -> None:
        """End the process and the thread."""
        self._closing.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with contextlib.suppress(OSError):
                self._start()  # it imports while the first order comes
            while not self._closing.is_set():
                self._wake.clear()
                order = self._orders[0] if self._orders else None
                if order is None:
                    self._wake.wait()
                    continue
                self._end(self._carry_out(order))
        finally:
            self._drop()

    def _end(self, result: EncodeResult | None) -> None:
        """The first order is over, under the number of its newest attempt."""
        with self._lock:
            order = self._orders.popleft()
            self._abandoned.discard(order.key)
            if result is not None:
                self._results.append(result.model_copy(update={"attempt": order.attempt}))

    def _carry_out(self, order: EncodeOrder) -> EncodeResult | None:
        """The result; None when nobody needs it any more."""
        try:
            process = self._process or self._start()
            process.send(order)
            return self._watch(order, process)
        except Exception as error:  # it is gone, or could not be started; the thread has to go on
            log.warning("the encoding process failed", exc_info=True)
            self._drop()
            return _machine_failed(order, f"the encoding process failed: {type(error).__name__}")

    def _watch(self, order: EncodeOrder, process: "_Process") -> EncodeResult | None:
        seen, since, begun_cpu_s = process.board.read(), self._clock(), process.cpu_s()
        while True:
            if (answer := process.answer(LOOK_S)) is not None:
                return EncodeResult.model_validate_json(answer)
            now = process.board.read()
            if now != seen:
                seen, since = now, self._clock()
            if process.ended:
                code = process.exit_code
                self._drop()
                return _machine_failed(order, f"the encoding process ended with code {code}{_at(now)}")
            if self._closing.is_set() or order.key in self._abandoned:
                self._drop()
                return None
            verdict = _judged(order, now, process.cpu_s(), begun_cpu_s, self._clock() - since)
            if verdict is not None and process.board.read() == now:
                self._drop()
                return verdict

    def _start(self) -> "_Process":
        process = _Process(self._command)
        with self._lock:
            self._process = process
        return process

    def _drop(self) -> None:
        """Kill the process. The next order starts another."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()


class _Process:
    """The process that encodes, and the pipes to it. Used by one thread, which must outlive it: the kernel ends it with
    the thread that started it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.board = Board.create()
        self._popen = subprocess.Popen(
            (*command, str(self.board.descriptor)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(self.board.descriptor,),
            bufsize=0,
            env=_environment(),
        )
        self._begun = b""
        self._used = psutil.Process(self._popen.pid)

    @property
    def pid(self) -> int:
        """Its id."""
        return self._popen.pid

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._popen.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, negative for a signal."""
        return self._popen.poll()

    def send(self, order: EncodeOrder) -> None:
        """Give it an order. Raises: OSError when it is gone."""
        pipe = self._popen.stdin
        if pipe is None:
            raise BrokenPipeError
        rest = memoryview(order.model_dump_json().encode() + b"\n")
        while rest:
            rest = rest[pipe.write(rest) or 0 :]

    def answer(self, wait_s: float) -> bytes | None:
        """Its next line, if one comes within `wait_s`."""
        pipe = self._popen.stdout
        if pipe is None or not select.select([pipe], [], [], wait_s)[0]:
            return None
        chunk = os.read(pipe.fileno(), 1 << 20)
        if not chunk:  # it closed its end, so it is about to end
            self._popen.wait()
        self._begun += chunk
        line, newline, rest = self._begun.partition(b"\n")
        if not newline:
            return None
        self._begun = rest
        return line

    def cpu_s(self) -> float:
        """Seconds of the processor that it has used. Raises: psutil.Error."""
        times = self._used.cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        """End it."""
        self._popen.kill()
        self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.board.close()


def _environment() -> dict[str, str]:
    """One thread, and `workers` where this process found it."""
    root = str(Path(workers.__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def _judged(order: EncodeOrder, at: Position, cpu_s: float, begun_cpu_s: float, still_s: float) -> EncodeResult | None:
    """The result if the process is over a limit, else None."""
    limits = order.limits
    if at.line and cpu_s - at.began_cpu_s > limits.row_s:
        message = f"turning this row into tokens takes longer than {limits.row_s:g} s; split the row, or shorten it"
        return _file_failed(order, RowIssue(line=at.line, code="row_too_slow", message=message))
    if at.line and cpu_s - begun_cpu_s > limits.file_s:
        message = f"turning the file into tokens takes longer than {limits.file_s:g} s; split the file"
        return _file_failed(order, RowIssue(line=at.line, code="file_too_slow", message=message))
    if still_s > limits.still_s:
        return _machine_failed(order, f"the encoding process made no progress for {limits.still_s:g} s{_at(at)}")
    return None


def _file_failed(order: EncodeOrder, issue: RowIssue) -> EncodeResult:
    file, place = order.dataset, order.dataset.container.place
    message = f"file {file.file_id}: 1 row(s) cannot be used: {place} {issue.line}; {issue.message}"
    return EncodeResult(
        key=order.key,
        attempt=order.attempt,
        error_code=ErrorCode.INVALID_TRAINING_FILE,
        message=message,
        issues=(issue,),
    )


def _machine_failed(order: EncodeOrder, message: str) -> EncodeResult:
    return EncodeResult(
        key=order.key, attempt=order.attempt, error_code=ErrorCode.ENCODING_FAILED, message=message, retryable=True
    )


def _at(position: Position) -> str:
    return f" at line {position.line}" if position.line else ""
