"""What a preview shows: rows as tokens, and a summary of all rows of a file.

Every file that is encoded has one, beside its encoded rows: it shows what a job trains on, not what it would.
"""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.contract.rows import RowIssue

PREVIEW_FILE: Final = "preview.json"
"""Beside the encoded rows, a `StoredPreview`."""
DIGESTS_FILE: Final = "digests"
"""Beside it: of each row that trains, 8 bytes that equal rows share, in order of the file."""
DIGEST_BYTES: Final = 8
MAX_ROWS: Final = 10
"""Rows that a preview may show."""
MAX_TOKENS: Final = 1_024
"""Tokens that are shown of a row."""
MAX_CONVERTED_CHARS: Final = 2_000
"""Characters that are shown of a row that was converted."""
MAX_DROPPED: Final = 20
"""Fields that are named of a row of which the chat template does not show them."""
MAX_SHOWN_ISSUES: Final = 20
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
    dropped: tuple[str, ...] = Field(
        (), description=f"fields that the chat template does not show, the first {MAX_DROPPED}"
    )
    converted: str | None = Field(
        None,
        description=f"the row's first {MAX_CONVERTED_CHARS} characters as it is trained, if the file has it otherwise",
    )


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


class StoredPreview(Shown):
    """What is kept of one file's preview."""

    rows: tuple[PreviewRow, ...] = Field(description="the first that train")
    summary: FileSummary


class FilePreview(Shown):
    """One file of a job."""

    file_id: str
    rows: tuple[PreviewRow, ...] = Field(description="the first that train")
    summary: FileSummary | None = Field(description="null: encoding stopped before the file's end")
    issue_count: int
    issues: tuple[RowIssue, ...] = Field(description="the first of them")


class PreviewView(Shown):
    """What a job trains on. Ask again while it is `running`."""

    object: Literal["fine_tuning.preview"] = "fine_tuning.preview"
    status: Literal["running", "done"]
    model: str
    rows_read: int = Field(description="rows that are tokens so far, of both files")
    training: FilePreview | None = Field(description="null: running")
    validation: FilePreview | None = Field(description="null: running, or there is no such file")
    shared_rows: int | None = Field(
        description="validation rows whose tokens and weights a training row has, after truncation; null: running, "
        "there is no such file, or a file is too large to compare"
    )
