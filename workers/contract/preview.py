"""What a preview shows: rows as tokens, and a summary of all rows of a file."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.contract.rows import RowIssue

MAX_ROWS: Final = 20
"""Rows that a preview may show."""
MAX_TOKENS: Final = 2_048
"""Tokens that are shown of a row."""
MAX_ISSUES: Final = 20
"""Problems that are shown of a file."""


class Shown(BaseModel):
    """An immutable answer. Fields that a later server adds are ignored."""

    model_config = ConfigDict(frozen=True)


class TokenRun(Shown):
    """Neighboring tokens of one weight."""

    text: str = Field(description="what they decode to; a character of several tokens is whole")
    ids: tuple[int, ...]
    weight: float = Field(description="what predicting each of them counts for in the loss; 0: nothing")


class PreviewRow(Shown):
    """One row as the base sees it."""

    line: int
    tokens: int = Field(description="of the row, before truncation")
    trained_tokens: int
    runs: tuple[TokenRun, ...] = Field(description=f"the first {MAX_TOKENS} tokens, in order")
    shown_tokens: int
    truncated_to: int | None = Field(None, description="tokens that max_seq_len leaves of it; null: all")
    dropped: tuple[str, ...] = Field((), description="fields that the chat template does not show")


class Lengths(Shown):
    """Tokens a row."""

    p50: int
    p95: int
    max: int


class FileSummary(Shown):
    """All rows of a file."""

    rows: int = Field(description="that train")
    tokens: int
    trained_tokens: int
    lengths: Lengths | None = Field(description="null: no row is left")
    duplicates: int = Field(description="rows whose tokens and weights an earlier row has")
    truncated: int
    too_long: int = Field(description="rows left out because they are longer than max_seq_len")
    nothing_to_learn: int = Field(description="rows without a token that carries loss")


class FilePreview(Shown):
    """One file of a job."""

    file_id: str
    rows: tuple[PreviewRow, ...] = Field(description="the first that can be used")
    summary: FileSummary
    issue_count: int
    issues: tuple[RowIssue, ...] = Field(description="the first of them")


class PreviewView(Shown):
    """What a job would train on."""

    object: Literal["fine_tuning.preview"] = "fine_tuning.preview"
    model: str
    training: FilePreview
    validation: FilePreview | None
    shared_rows: int | None = Field(
        description="validation rows that are also in the training file; null: no such file"
    )
