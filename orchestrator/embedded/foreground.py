"""The stack in the foreground of a terminal: up, watched, and down on Ctrl-C or SIGTERM."""

import signal
import threading
from collections.abc import Callable
from types import FrameType

from orchestrator.embedded.stack import EmbeddedStack

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Ended(BaseException):
    """A signal asked for the end; like KeyboardInterrupt, no `except Exception` may swallow it."""


def run_foreground(stack: EmbeddedStack, announce: Callable[[EmbeddedStack], None]) -> None:
    """Run until a signal comes, also in the midst of starting. `announce` is called once, when all serve.

    Call it in the main thread. Raises what `EmbeddedStack.up` raises.
    """
    before = {number: signal.signal(number, _end) for number in ENDING}
    try:
        with stack:
            announce(stack)
            stack.watch(threading.Event())
    except _Ended:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)  # the way down is not to be interrupted
    raise _Ended(f"signal {number} at {frame}")
