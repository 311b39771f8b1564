"""`orchard usage`: what was trained, by hour or day."""

from collections.abc import Iterator
from enum import StrEnum
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.output import Format, FormatOption, show_list
from api.cli.session import session_of

if TYPE_CHECKING:
    from api.cli.client import Body, OrchardClient

SECONDS = {"hour": 3_600, "day": 86_400}


class Bucket(StrEnum):
    """How long one line's time is."""

    HOUR = "hour"
    DAY = "day"


class By(StrEnum):
    """What a line describes, within its time."""

    BASE = "base"
    JOB = "job"
    FLAVOR = "flavor"
    TENANT = "tenant"


def usage(
    context: typer.Context,
    by: Annotated[By | None, typer.Option(help="A line for each base, job, flavor or (operator) tenant.")] = None,
    bucket: Annotated[Bucket, typer.Option(help="Add up by hours or days, in UTC.")] = Bucket.DAY,
    last: Annotated[int, typer.Option(min=1, max=1_000, help="How many of them, up to now.")] = 7,
    tenant: Annotated[str | None, typer.Option(help="Slug or id of a tenant (operator).")] = None,
    all_tenants: Annotated[bool, typer.Option("--all-tenants", help="Of everybody (operator).")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show tokens trained and seconds in a seat: used, and what of it is billable."""
    as_operator = all_tenants or tenant is not None or by is By.TENANT
    now = int(time())
    question: dict[str, Any] = {"bucket": bucket, "start": now - (last - 1) * SECONDS[bucket], "end": now + 1}
    question |= {name: value for name, value in (("group_by", by), ("tenant", tenant)) if value is not None}
    session = session_of(context)
    with session.admin() if as_operator else session.tenant() as client:
        lines = list(_lines(client, "/v1/admin/usage" if as_operator else "/v1/usage", question))
    columns = {
        "FROM": "start_at",
        **({} if by is None else {by.upper(): "key"}),
        "TOKENS": "used.tokens",
        "SUPERVISED": "used.supervised_tokens",
        "SEAT SECONDS": "used.seat_seconds",
        "BILLABLE TOKENS": "billable.tokens",
        "BILLABLE SECONDS": "billable.seat_seconds",
    }
    show_list(lines, columns, output)


def _lines(client: "OrchardClient", path: str, question: dict[str, Any]) -> "Iterator[Body]":
    """One line a result; times without any have none."""
    from api.cli.models import UsagePage

    while True:
        page = client.fetch(UsagePage, "GET", path, params=question)
        for bucket in page.data:
            for result in bucket.results:
                yield {"start_at": bucket.start_time, "end_at": bucket.end_time, **result}
        if not page.has_more:
            return
        question = question | {"start": page.next_page}
