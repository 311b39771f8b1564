"""Calls of the reports on files and jobs, and how a terminal shows them."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from api.cli.models import Issue, IssuePage
from api.cli.output import Columns, Format, say, show_list, show_one
from orchestrator.characters import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from api.cli.client import OrchardClient

PAGE: Final = 1_000
COLUMNS: Final[Columns] = {"LINE": "line", "FIELD": "field", "CODE": "code", "PROBLEM": "message"}
JOB_COLUMNS: Final[Columns] = {"FILE": "file", **COLUMNS}


@dataclass(frozen=True)
class Report:
    """The first issues of a report, and how many there are in all."""

    issues: list[Issue]
    issue_count: int = 0
    stored_count: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class IssueCalls:
    """The report on one file or job. Every method raises CliError."""

    client: "OrchardClient"
    owner_id: str
    path: str
    command: str
    """What a user types for it, up to the id."""
    columns: Columns

    @classmethod
    def of_file(cls, client: "OrchardClient", file_id: str) -> "IssueCalls":
        """The report on a file."""
        path = f"/v1/files/{quote(file_id, safe='')}/x/issues"
        return cls(client, file_id, path, f"orchard files issues {file_id}", COLUMNS)

    @classmethod
    def of_job(cls, client: "OrchardClient", job_id: str) -> "IssueCalls":
        """The report of a job on its files."""
        path = f"/v1/fine_tuning/jobs/{quote(job_id, safe='')}/x/issues"
        return cls(client, job_id, path, f"orchard issues {job_id}", JOB_COLUMNS)

    def first(self, limit: int) -> Report:
        """At most `limit` issues, in order."""
        issues: list[Issue] = []
        while True:
            after = {"after": issues[-1].id} if issues else {}
            params = {"limit": min(limit - len(issues), PAGE), **after}
            page = self.client.fetch(IssuePage, "GET", self.path, params=params)
            issues += page.data[: limit - len(issues)]
            if not page.data or not page.has_more or len(issues) >= limit:
                return Report(issues, page.issue_count, page.stored_count, page.codes)

    def whole(self) -> AbstractContextManager["Iterator[bytes]"]:
        """The whole report as it arrives: JSONL."""
        return self.client.download(f"{self.path}?format=jsonl")


def show_issues(calls: IssueCalls, target: Path | None, limit: int, output: Format) -> None:
    """Print the first issues, or save all of them to `target`. Raises CliError, and OSError."""
    if target is None:
        _show(calls, calls.first(limit), output)
        return
    from api.cli.transfer import save

    with calls.whole() as chunks:
        size = save(chunks, None, target)
    say(f"The whole report on {calls.owner_id} is in {target} ({size} bytes)")
    if output is not Format.TABLE:
        show_one({"id": calls.owner_id, "path": str(target), "bytes": size}, output)


def _show(calls: IssueCalls, report: Report, output: Format) -> None:
    show_list(report.issues, calls.columns, output)
    if output is not Format.TABLE:
        return
    kinds = escaped(", ".join(f"{count:,} {code}" for code, count in report.codes.items()))
    say(f"{report.issue_count:,} problem(s)" + (f": {kinds}" if kinds else ""))
    if report.issue_count and not report.stored_count:
        say("Their file is deleted, and the report with it.")
    elif report.stored_count > len(report.issues):
        say(f"Shown are the first {len(report.issues):,}. For all: {calls.command} report.jsonl")
