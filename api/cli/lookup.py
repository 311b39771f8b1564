"""Resolves names to ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from api.cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from api.cli.client import OrchardClient


def job_of(client: OrchardClient, name: str) -> str:
    """The id of the newest job with that id, adapter `ft:…` or name. Raises CliError."""
    if name.startswith("ftjob-"):
        return name
    for job in client.jobs(limit=100_000):
        if name in (job.fine_tuned_model, job.user_provided_suffix):
            return job.id
    raise CliError(f"you have no job with the id, adapter or name {name!r}", code="job_not_found", hint="orchard jobs")


def one_named(named: Iterable[tuple[str, str]], wanted: str, kind: str, listing: str) -> str:
    """The id, among pairs of id and name, of the only one that is called `wanted`, or whose name begins so.

    Two of one name are refused: what follows may change or delete one. Raises CliError, whose hint is `listing`.
    """
    pairs = list(named)
    found = [pair for pair in pairs if pair[1] == wanted] or [pair for pair in pairs if pair[1].startswith(wanted)]
    if not found:
        raise CliError(f"you have no {kind} called {wanted!r}", code=f"{kind}_not_found", hint=listing)
    if len(found) > 1:
        shown = ", ".join(f"{name} ({each})" for each, name in found[:5]) + (", …" if len(found) > 5 else "")
        raise CliError(
            f"{len(found)} {kind}s are called {wanted!r}: {shown}",
            code=f"{kind}_ambiguous",
            hint="name one by its id",
            exit_code=ExitCode.USAGE,
        )
    return found[0][0]
