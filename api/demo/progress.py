"""Follows all jobs at once: one bar each on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from api.demo.tenants import Followed
from orchestrator.characters import escaped

LOOK_EVERY_S = 2.0
LINE_EVERY_STEPS = 8


class OutOfTime(Exception):
    """The jobs did not finish within the demo's time limit."""


def follow(jobs: Sequence[Followed], console: Console, limit_s: float) -> None:
    """Follow until every job is over. Raises OutOfTime."""
    deadline = time.monotonic() + limit_s
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bars = {job.job.id: progress.add_task(_name(job), total=None, note="") for job in jobs}
        while waiting := [job for job in jobs if not job.is_over]:
            for job in waiting:
                _look(job, progress, bars[job.job.id])
            if time.monotonic() > deadline:
                raise OutOfTime(f"{len(waiting)} jobs are not over after {limit_s:.0f} s; see the stack's logs")
            time.sleep(LOOK_EVERY_S)


def _look(job: Followed, progress: Progress, bar: TaskID) -> None:
    for event in job.news():
        step = getattr(event.data, "get", lambda *_: None)("step") if event.type == "metrics" else None
        if event.type == "metrics":
            progress.update(bar, note=escaped(event.message.partition(": ")[2]))
        if progress.disable and (step is None or int(step) % LINE_EVERY_STEPS == 0):
            progress.console.print(Text(escaped(f"{_name(job):18} {event.message}")))
    details = job.details
    progress.update(bar, completed=details.get("step") or 0, total=details.get("total_steps"))


def _name(job: Followed) -> str:
    return f"{job.task.tenant} rank {job.rank}"
