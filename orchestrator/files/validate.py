"""Checks every line of a streamed data set: encoding, JSON, a single format, schema.

Messages that OpenAI has too use its wording, so that tools that match them keep working.
"""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from orchestrator.files.lines import MAX_LINE_BYTES, LineCutter, RawLine
from workers.contract.rows import ROW_MODELS, DatasetFormat, RowIssue, detect_format, row_issues

MAX_STORED_ISSUES = 1_000
MAX_FIELD_CHARS = 200
MAX_MESSAGE_CHARS = 500


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

    def feed(self, chunk: bytes) -> None:
        """Check the lines that `chunk` completes."""
        for line in self._cutter.feed(chunk):
            self._check(line)

    def finish(self) -> Findings:
        """Check the rest and return all findings."""
        for line in self._cutter.finish():
            self._check(line)
        if not self._findings.rows and not self._findings.issues:
            self._complain([RowIssue(line=1, code="empty_file", message="the file has no rows")])
        return self._findings

    def _check(self, line: RawLine) -> None:
        if line.content is None:
            self._complain([_issue(line, "line_too_long", f"the line is longer than {MAX_LINE_BYTES:,} bytes")])
            return
        content = line.content.removeprefix(codecs.BOM_UTF8) if line.number == 1 else line.content
        if not content.strip():
            return
        issues = list(self._issues(line.number, content))
        self._complain(issues)
        self._findings.rows += not issues

    def _issues(self, number: int, content: bytes) -> Iterator[RowIssue]:
        row = parse_object(number, content)
        if isinstance(row, RowIssue):
            yield row
            return
        found = detect_format(row)
        if found is None:
            yield RowIssue(
                line=number,
                code="unknown_format",
                message="Unexpected file format, expected either prompt/completion pairs or chat messages (or text).",
            )
            return
        if self._findings.format is None:
            self._findings.format, self._format_line = found, number
        if found is not self._findings.format:
            yield RowIssue(line=number, code="mixed_formats", message=self._mixed(found))
            return
        try:
            ROW_MODELS[found].model_validate(row)
        except ValidationError as error:
            yield from _without_echoes(row_issues(number, error))

    def _mixed(self, found: DatasetFormat) -> str:
        return (
            f"Found multiple dataset formats in the input file. Got {self._findings.format} on line "
            f"{self._format_line} and {found} here."
        )

    def _complain(self, issues: list[RowIssue]) -> None:
        self._findings.issue_count += len(issues)
        room = MAX_STORED_ISSUES - len(self._findings.issues)
        self._findings.issues += [_storable(issue) for issue in issues[:room]]


def parse_object(number: int, content: bytes) -> dict[str, Any] | RowIssue:
    """The JSON object of a line, or the issue with it."""
    try:
        row = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        message = f"File is not UTF-8 encoded: byte {error.start + 1} of the line is 0x{content[error.start]:02x}"
        return RowIssue(line=number, code="not_utf8", message=message)
    except json.JSONDecodeError as error:
        return RowIssue(line=number, code="invalid_json", message=f"not valid JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        return RowIssue(line=number, code="invalid_json", message=f"not valid JSON: {reason}")
    if not isinstance(row, dict):
        kind = type(row).__name__
        return RowIssue(line=number, code="not_an_object", message=f"expected a JSON object, found a JSON {kind}")
    return row


def describe(issue: RowIssue) -> str:
    """One issue as a sentence."""
    where = f"Line {issue.line}" + (f", {issue.field}" if issue.field else "")
    return f"{where}: {issue.message}"


def _without_echoes(issues: list[RowIssue]) -> list[RowIssue]:
    """pydantic drops bad items from a list and then reports the list as too short; omit that second error."""
    fields = [issue.field or "" for issue in issues]
    return [
        issue
        for issue in issues
        if issue.code != "too_short" or not any(field.startswith(f"{issue.field}.") for field in fields)
    ]


def _issue(line: RawLine, code: str, message: str) -> RowIssue:
    return RowIssue(line=line.number, code=code, message=message)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _storable(issue: RowIssue) -> RowIssue:
    """A copy that any database can store: field names come from tenants' rows and may contain any character."""
    return issue.model_copy(
        update={
            "field": None if issue.field is None else _printable(issue.field)[:MAX_FIELD_CHARS],
            "message": _printable(issue.message)[:MAX_MESSAGE_CHARS],
        }
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)
