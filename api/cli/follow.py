"""Follows events across broken connections, and prints them."""

from collections.abc import Iterator
from datetime import datetime

from rich.console import Console
from rich.text import Text

from api.cli.client import OrchardClient
from api.cli.errors import ServerAway, StreamIdle
from api.cli.models import Event
from api.cli.output import Format, as_json, as_yaml
from api.cli.reconnect import Reconnect
from orchestrator.characters import escaped

STYLES = {"warn": "yellow", "error": "red"}


def follow_events(client: OrchardClient, job_id: str, patience: Reconnect | None = None) -> Iterator[Event]:
    """Each event once, oldest first, until the job is over. A broken stream is opened again, with `patience`.

    Raises CliError.
    """
    patience = patience or Reconnect(client)
    seen: set[str] = set()
    last: str | None = None
    while True:
        try:
            for event in client.stream_events(job_id, last):
                patience.answered()
                if event.id not in seen:
                    seen.add(event.id)
                    last = event.id
                    yield event
            return
        except StreamIdle:
            patience.again()
        except ServerAway as away:
            patience.wait(away)


def print_event(event: Event, output: Format, out: Console) -> None:
    """One line, one JSON object on a line, or one YAML document."""
    match output:
        case Format.TABLE:
            at = datetime.fromtimestamp(event.created_at).astimezone().strftime("%H:%M:%S")
            line = escaped(f"{at} {event.level:5} {event.message}")
            out.print(Text(line, style=STYLES.get(event.level, "")), soft_wrap=True)
        case Format.JSON:
            out.out(as_json(event.model_dump(mode="json")), highlight=False)
        case Format.YAML:
            out.out("---\n" + as_yaml(event.model_dump(mode="json")).rstrip(), highlight=False)
