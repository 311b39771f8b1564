"""Checks every row of a streamed data set: container, encoding, a single format, schema.

Messages that OpenAI has too use its wording, so that tools that match them keep working.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from workers.contract.files import Container, Note
from workers.contract.rows import DatasetFormat, RowIssue
from workers.formats.conversion import storable
from workers.formats.reading import FileReading
from workers.formats.stream import ByteSource

MAX_ISSUES: Final = 10_000
"""Of one file. Checking stops there: a file that is wrong throughout costs no more than one that is half wrong."""
MAX_STORED_ISSUES: Final = 1_000
MAX_FIELD_CHARS: Final = 200
MAX_MESSAGE_CHARS: Final = 500


@dataclass
class Findings:
    """The result of validating a file."""

    format: DatasetFormat | None = None
    rows: int = 0
    issue_count: int = 0
    issues: list[RowIssue] = field(default_factory=list)
    shape: str | None = None
    container: Container = Container.JSONL
    notes: list[Note] = field(default_factory=list)

    @property
    def status_details(self) -> str | None:
        """One sentence: the first issue and the number of others. None for a valid file."""
        if not self.issues:
            return None
        more = self.issue_count - 1
        return f"Invalid file format. {describe(self.issues[0], self.container)}" + (
            f" (and {more} more)" if more else ""
        )


def check_file(source: ByteSource, wanted: str | None = None) -> Findings:
    """Check every row of a file, which is read to its end or to where checking stops.

    `wanted`: the shape of its rows that the owner named.
    """
    reading = FileReading(source, wanted)
    findings = Findings()
    for checked in reading.rows():
        findings.rows += checked.row is not None
        _complain(findings, checked.issues)
        if findings.issue_count >= MAX_ISSUES:
            _stop(findings, checked.number)
            break
    findings.format, findings.shape = reading.format, reading.shape
    findings.container, findings.notes = reading.container, list(reading.notes)
    if not findings.rows and not findings.issues:
        _complain(findings, [RowIssue(line=1, code="empty_file", message="the file has no rows")])
    return findings


def _complain(findings: Findings, issues: Sequence[RowIssue]) -> None:
    findings.issue_count += len(issues)
    room = MAX_STORED_ISSUES - len(findings.issues)
    findings.issues += [_storable(issue) for issue in issues[:room]]


def _stop(findings: Findings, line: int) -> None:
    """The last stored issue says that no more of the file is checked."""
    message = f"checking stopped here, after {findings.issue_count:,} problems; correct these first"
    findings.issues[MAX_STORED_ISSUES - 1 :] = [RowIssue(line=line, code="checking_stopped", message=message)]


def describe(issue: RowIssue, container: Container) -> str:
    """One issue of a file as a sentence."""
    where = f"{container.place.title()} {issue.line}" + (f", {issue.field}" if issue.field else "")
    return f"{where}: {issue.message}"


def _storable(issue: RowIssue) -> RowIssue:
    """A copy that any database can store: field names come from tenants' rows and may contain any character."""
    return issue.model_copy(
        update={
            "field": None if issue.field is None else storable(issue.field, MAX_FIELD_CHARS),
            "message": storable(issue.message, MAX_MESSAGE_CHARS),
        }
    )
