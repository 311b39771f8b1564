"""`orchard webhooks …`: where you are told that a job has ended."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from api.cli.output import Format, FormatOption, say, show_list, show_one
from api.cli.session import session_of
from api.cli.webhook_calls import EVENT_PREFIX, WebhookCalls

webhooks = typer.Typer(no_args_is_help=True, help="Be told when a job has ended.")


class Event(StrEnum):
    """How a job can end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


EndpointName = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Name, the beginning of it, or id we_….")]
Events = Annotated[list[Event] | None, typer.Option("--event", help="End to be told of; repeat. All by default.")]
NewEvents = Annotated[list[Event] | None, typer.Option("--event", help="Only end to be told of from now on; repeat.")]
KEEP_NOW = "Keep the signing secret now; it cannot be shown again."


@webhooks.command("list")
def list_endpoints(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List your endpoints, newest first."""
    columns = {
        "ID": "id",
        "NAME": "name",
        "URL": "url",
        "EVENTS": "event_types",
        "ENABLED": "x_orchard.enabled",
        "SECRET": "signing_secret_hint",
    }
    with _calls(context) as calls:
        show_list(calls.endpoints(), columns, output)


@webhooks.command("create")
def create_endpoint(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For telling endpoints apart.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="https://… at a public address.")],
    event: Events = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Add an endpoint. Its signing secret is shown this once."""
    with _calls(context) as calls:
        made = calls.create(name, url, event or Event)
    say(KEEP_NOW)
    show_one(made, output)


@webhooks.command("update")
def update_endpoint(
    context: typer.Context,
    endpoint: EndpointName,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    url: Annotated[str | None, typer.Option(help="New URL.")] = None,
    event: NewEvents = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Switch it on or off.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Change an endpoint; what is not named stays."""
    changes: dict[str, Any] = {"name": name, "url": url}
    changes["event_types"] = [EVENT_PREFIX + one for one in event] if event else None
    changes["x_orchard"] = None if enabled is None else {"enabled": enabled}
    changed = {field: value for field, value in changes.items() if value is not None}
    with _calls(context) as calls:
        show_one(calls.update(calls.named(endpoint), changed), output)


@webhooks.command("delete")
def delete_endpoint(context: typer.Context, endpoint: EndpointName) -> None:
    """Delete an endpoint; what waits to be sent there is dropped."""
    with _calls(context) as calls:
        endpoint_id = calls.named(endpoint)
        calls.delete(endpoint_id)
    say(f"{endpoint_id} is deleted.")


@webhooks.command("rotate")
def rotate_secret(
    context: typer.Context,
    endpoint: EndpointName,
    keep_old: Annotated[bool, typer.Option("--keep-old", help="Sign with the old secret, too, for 24 hours.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Change the signing secret. The new one is shown this once."""
    with _calls(context) as calls:
        rotated = calls.rotate(calls.named(endpoint), keep_old=keep_old)
    say(KEEP_NOW)
    show_one(rotated, output)


@webhooks.command("test")
def send_sample(
    context: typer.Context,
    endpoint: EndpointName,
    event: Annotated[Event, typer.Option(help="What the sample says.")] = Event.SUCCEEDED,
    output: FormatOption = Format.TABLE,
) -> None:
    """Send a signed sample now and show how the endpoint answered."""
    with _calls(context) as calls:
        show_one(calls.test(calls.named(endpoint), event), output)


@webhooks.command("deliveries")
def list_deliveries(
    context: typer.Context,
    endpoint: EndpointName,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    output: FormatOption = Format.TABLE,
) -> None:
    """List what was sent to an endpoint and what waits to be, newest first."""
    columns = {
        "ID": "id",
        "JOB": "job_id",
        "EVENT": "event_type",
        "STATE": "state",
        "TRIES": "attempts",
        "STATUS": "last_status_code",
        "ERROR": "last_error",
        "LAST TRY": "last_try_at",
        "NEXT TRY": "next_try_at",
    }
    with _calls(context) as calls:
        show_list(calls.deliveries(calls.named(endpoint), limit), columns, output)


@contextmanager
def _calls(context: typer.Context) -> Iterator[WebhookCalls]:
    with session_of(context).tenant() as client:
        yield WebhookCalls(client)
