"""Checks every row of a streamed data set: container, encoding, a single format, schema.

Messages that OpenAI has too use its wording, so that tools that match them keep working.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from workers.contract.files import Container, Note
from workers.contract.issues import MAX_ISSUES, stopped, storable
from workers.contract.rows import DatasetFormat, RowIssue
from workers.formats.reading import FileReading
from workers.formats.stream import ByteSource


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
        if stopped(findings.issues, checked.number):
            break
        findings.rows += checked.row is not None
        _complain(findings, checked.issues)
    findings.format, findings.shape = reading.format, reading.shape
    findings.container, findings.notes = reading.container, list(reading.notes)
    if not findings.rows and not findings.issues:
        _complain(findings, [RowIssue(line=1, code="empty_file", message="the file has no rows")])
    return findings


def _complain(findings: Findings, issues: Sequence[RowIssue]) -> None:
    findings.issue_count += len(issues)
    room = MAX_ISSUES - len(findings.issues)
    findings.issues += [storable(issue) for issue in issues[:room]]


def describe(issue: RowIssue, container: Container) -> str:
    """One issue of a file as a sentence."""
    where = f"{container.place.title()} {issue.line}" + (f", {issue.field}" if issue.field else "")
    return f"{where}: {issue.message}"
