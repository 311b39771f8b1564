"""Follows a job to its end: a live bar on a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from api.cli.client import OrchardClient
from api.cli.errors import CliError, ExitCode, ServerAway
from api.cli.models import Event, Job
from api.cli.reconnect import Reconnect
from orchestrator.characters import escaped

INTERVAL_S = 1.0


def watch_job(
    client: OrchardClient,
    job_id: str,
    patience: Reconnect | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Job:
    """Show the job until it is over and return it. Server outages are retried with `patience`.

    Raises CliError.
    """
    patience = patience or Reconnect(client)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    seen: set[str] = set()
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(job_id, total=None, loss="-")
        while True:
            try:
                job, news = client.job(job_id), _news(client, job_id, seen)
            except ServerAway as away:
                patience.wait(away)
                continue
            patience.answered()
            for event in news:
                if event.train_loss is not None:
                    progress.update(bar, loss=f"{event.train_loss:.4f}")
                if event.type == "message" or progress.disable:
                    console.print(Text(escaped(f"{event.level:5} {event.message}")))
            progress.update(bar, completed=job.x_orchard.step or 0, total=job.x_orchard.total_steps)
            progress.update(bar, description=_headline(job))
            if job.is_over:
                return job
            pause(INTERVAL_S)


def raise_for_outcome(job: Job) -> None:
    """Raises CliError with exit code 3 when the job did not succeed."""
    if job.status == "succeeded":
        return
    reason = f": {job.error.message}" if job.error else ""
    code = job.error.code if job.error else job.status
    hint = f"orchard logs {job.id}"
    raise CliError(f"job {job.id} {job.status}{reason}", code=code, hint=hint, exit_code=ExitCode.JOB_FAILED)


def _news(client: OrchardClient, job_id: str, seen: set[str]) -> list[Event]:
    """Events not seen before, oldest first."""
    fresh = [event for event in client.events(job_id, limit=100) if event.id not in seen]
    seen.update(event.id for event in fresh)
    return fresh[::-1]


def _headline(job: Job) -> str:
    waiting = f" ({job.x_orchard.queue_reason})" if job.x_orchard.queue_reason else ""
    return escaped(f"{job.id} {job.status}{waiting}")
