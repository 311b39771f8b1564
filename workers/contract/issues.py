"""What is told of the bad rows of a file: how many, how long, and of which file of a job.

Upload, encoding and the report that a tenant pages through share these bounds. Bounds of one row: `row_check`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from workers.contract.rows import RowIssue

MAX_ISSUES: Final = 10_000
"""Of one file. Checking stops there: a file that is wrong throughout costs no more than one that is half wrong."""
MAX_FIELD_CHARS: Final = 200
MAX_MESSAGE_CHARS: Final = 500


class FileRole(StrEnum):
    """What a job uses a file for."""

    TRAINING = "training"
    VALIDATION = "validation"


FoundIssues = Mapping[FileRole, Sequence[RowIssue]]
"""What is wrong with the files of a job."""


def storable(issue: RowIssue) -> RowIssue:
    """A copy that any database can store: field names come from tenants' rows and may contain any character."""
    field = None if issue.field is None else storable_text(issue.field, MAX_FIELD_CHARS)
    return issue.model_copy(update={"field": field, "message": storable_text(issue.message, MAX_MESSAGE_CHARS)})


def storable_text(text: str, max_chars: int) -> str:
    """The beginning of a text, without what a database refuses or a screen acts on."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:max_chars])


def stopped(issues: list[RowIssue], line: int) -> bool:
    """Whether `issues` of one file are enough to stop before `line`. Then the last of them says so."""
    if len(issues) < MAX_ISSUES:
        return False
    message = f"checking stopped here, after {len(issues):,} problems; correct these first"
    issues[MAX_ISSUES - 1 :] = [RowIssue(line=line, code="checking_stopped", message=message)]
    return True
