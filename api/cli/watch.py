"""Follows a job to its end: a live bar on a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from api.cli.client import OrchardClient
from api.cli.errors import CliError, ExitCode, ServerAway
from api.cli.models import Event, Job
from api.cli.output import Format, show_one
from api.cli.reconnect import Reconnect
from api.cli.summary import Losses, next_command, summary
from orchestrator.characters import escaped

INTERVAL_S = 1.0
NEWEST = 100  # events; the last step is among them


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


def losses_of(client: OrchardClient, job_id: str) -> Losses:
    """The training loss of the first and the last step; none where the server does not say: the job is over anyway."""
    with suppress(CliError):
        with closing(client.stream_events(job_id)) as events:  # from the first event on, read no further than needed
            first = next((event.train_loss for event in events if event.train_loss is not None), None)
        newest = client.events(job_id, limit=NEWEST)
        last = next((event.train_loss for event in newest if event.train_loss is not None), None)
        return Losses(first, last)
    return Losses()


def show_end(client: OrchardClient, job: Job, output: Format) -> None:
    """Print how a job ended: a summary, or the whole job for programs."""
    if output is Format.TABLE:
        show_one(summary(job, losses_of(client, job.id)), output)
    else:
        show_one(job, output)


def raise_for_outcome(job: Job) -> None:
    """Raises CliError with exit code 3 when the job did not succeed."""
    if job.status == "succeeded":
        return
    reason = f": {job.error.message}" if job.error else ""
    code = job.error.code if job.error else job.status
    told = f"job {job.id} {job.status}{reason}"
    raise CliError(told, code=code, hint=next_command(job), exit_code=ExitCode.JOB_FAILED)


def _news(client: OrchardClient, job_id: str, seen: set[str]) -> list[Event]:
    """Events not seen before, oldest first."""
    fresh = [event for event in client.events(job_id, limit=100) if event.id not in seen]
    seen.update(event.id for event in fresh)
    return fresh[::-1]


def _headline(job: Job) -> str:
    waiting = f" ({job.x_orchard.queue_reason})" if job.x_orchard.queue_reason else ""
    return escaped(f"{job.id} {job.status}{waiting}")
