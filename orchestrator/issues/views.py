"""One issue, and the totals of a report, as their owner sees them."""

from typing import Literal

from pydantic import BaseModel, Field

from workers.contract.issues import FileRole
from workers.contract.rows import RowIssue


class IssueView(RowIssue):
    """One problem of one row of a file."""

    id: str = Field(description="place in the report; `after` continues behind it")
    object: Literal["file.issue"] = "file.issue"
    file_id: str
    file: FileRole | None = Field(description="what the job uses the file for; null in the report of a file")


class IssueTotals(BaseModel):
    """How much a report has, whatever part of it is asked for."""

    issue_count: int = Field(description="number of all issues, in the report or not")
    stored_count: int = Field(description="issues in the report; 0 once its file is deleted")
    codes: dict[str, int] = Field(description="issues in the report by code, the most frequent first")
