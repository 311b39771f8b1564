"""Checks every line of a streamed data set: encoding, JSON, a single format, schema.

Messages that OpenAI has too use its wording, so that tools that match them keep working.
"""

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.files.lines import LineCutter, RawLine
from workers.contract.issues import MAX_ISSUES, storable
from workers.contract.row_check import MAX_ROW_BYTES, check_row, parse_row
from workers.contract.rows import DatasetFormat, RowIssue, detect_format


@dataclass
class Findings:
    """The result of validating a file."""

    format: DatasetFormat | None = None
    rows: int = 0
    issue_count: int = 0
    issues: list[RowIssue] = field(default_factory=list)

    @property
    def status_details(self) -> str | None:
        """One sentence: the first issue and the number of others. None for a valid file."""
        if not self.issues:
            return None
        more = self.issue_count - 1
        return f"Invalid file format. {describe(self.issues[0])}" + (f" (and {more} more)" if more else "")


class DatasetValidator:
    """`feed` the bytes of a JSONL file in chunks of any size, then `finish`."""

    def __init__(self) -> None:
        self._cutter = LineCutter()
        self._findings = Findings()
        self._format_line = 0
        self._stopped = False

    def feed(self, chunk: bytes) -> None:
        """Check the lines that `chunk` completes."""
        for line in () if self._stopped else self._cutter.feed(chunk):
            self._check(line)

    def finish(self) -> Findings:
        """Check the rest and return all findings."""
        for line in () if self._stopped else self._cutter.finish():
            self._check(line)
        if not self._findings.rows and not self._findings.issues:
            self._complain([RowIssue(line=1, code="empty_file", message="the file has no rows")])
        return self._findings

    def _check(self, line: RawLine) -> None:
        if self._stopped:  # the rest of the chunk in which it stopped
            return
        try:
            issues = self._issues(line)
        except MemoryError:
            message = "checking the line takes more memory than the server has for it; split the row, or shorten it"
            issues = [_issue(line, "row_too_large", message)]
        if issues is None:
            return
        self._complain(issues)
        self._findings.rows += not issues
        if self._findings.issue_count >= MAX_ISSUES:
            self._stop(line)

    def _issues(self, line: RawLine) -> Sequence[RowIssue] | None:
        """What is wrong with the line. None: it is blank."""
        if line.content is None:
            return [_issue(line, "line_too_long", f"the line is longer than {MAX_ROW_BYTES:,} bytes")]
        content = line.content.removeprefix(codecs.BOM_UTF8) if line.number == 1 else line.content
        if not content.strip():
            return None
        row = parse_row(line.number, content)
        if isinstance(row, RowIssue):
            return [row]
        found = detect_format(row)
        if found is None:
            message = "Unexpected file format, expected either prompt/completion pairs or chat messages (or text)."
            return [_issue(line, "unknown_format", message)]
        if self._findings.format is None:
            self._findings.format, self._format_line = found, line.number
        if found is not self._findings.format:
            return [_issue(line, "mixed_formats", self._mixed(found))]
        checked = check_row(line.number, found, row, content)
        return checked if isinstance(checked, list) else ()

    def _mixed(self, found: DatasetFormat) -> str:
        return (
            f"Found multiple dataset formats in the input file. Got {self._findings.format} on line "
            f"{self._format_line} and {found} here."
        )

    def _complain(self, issues: Sequence[RowIssue]) -> None:
        self._findings.issue_count += len(issues)
        room = MAX_ISSUES - len(self._findings.issues)
        self._findings.issues += [storable(issue) for issue in issues[:room]]

    def _stop(self, line: RawLine) -> None:
        """Check no more of the file. The last stored issue says so."""
        self._stopped = True
        message = f"checking stopped here, after {self._findings.issue_count:,} problems; correct these first"
        self._findings.issues[MAX_ISSUES - 1 :] = [_issue(line, "checking_stopped", message)]


def describe(issue: RowIssue) -> str:
    """One issue as a sentence."""
    where = f"Line {issue.line}" + (f", {issue.field}" if issue.field else "")
    return f"{where}: {issue.message}"


def _issue(line: RawLine, code: str, message: str) -> RowIssue:
    return RowIssue(line=line.number, code=code, message=message)
