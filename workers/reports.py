"""The host's outgoing reports: numbered, kept until acknowledged, thread-safe."""

import threading
from collections.abc import Sequence

from workers.contract.reports import Heartbeat, NumberedReport, Report


class ReportLog:
    """Reports in the order they occurred. A seat has at most one heartbeat in the log: a newer one replaces it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_seq = 0
        self._kept: list[NumberedReport] = []

    def append(self, report: Report) -> None:
        """Add one report under the next number."""
        with self._lock:
            if isinstance(report, Heartbeat):
                self._kept = [kept for kept in self._kept if not _same_pulse(kept.report, report)]
            self._last_seq += 1
            self._kept.append(NumberedReport(seq=self._last_seq, report=report))

    def after(self, cursor: int) -> Sequence[NumberedReport]:
        """Reports with `seq > cursor`. Those up to `cursor` are acknowledged and dropped."""
        with self._lock:
            self._kept = [kept for kept in self._kept if kept.seq > cursor]
            return tuple(self._kept)


def _same_pulse(kept: Report, new: Heartbeat) -> bool:
    return isinstance(kept, Heartbeat) and (kept.job_id, kept.attempt) == (new.job_id, new.attempt)
