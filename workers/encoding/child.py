"""The process that encodes, as the one that watches it holds it."""

import contextlib
import os
import select
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

import workers
from workers.contract.encoding import EncodeOrder
from workers.encoding.board import Board


class ChildProcess:
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
