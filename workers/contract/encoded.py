"""`EncodedRef`: the rows of a file as tokens, in storage."""

from pydantic import Field

from workers.contract.model import Frozen

ROWS_FILE = "rows.safetensors"
MANIFEST_FILE = "manifest.json"
"""Written last: it proves the other file."""


class EncodedRef(Frozen):
    """Where a file's encoded rows lie, their digest, and what they count. Counts are of one epoch."""

    uri: str = Field(description="folder with the rows and their manifest")
    sha256: str = Field(description="of the file of rows")
    bytes: int = Field(ge=0)
    rows: int = Field(ge=1, description="rows to learn from")
    tokens: int = Field(ge=1)
    trained_tokens: int = Field(ge=1, description="tokens that carry loss")
    truncated_rows: int = Field(0, ge=0)
    dropped_rows: int = Field(0, ge=0, description="left out for exceeding max_seq_len")
    left_out: dict[str, int] = Field({}, description="field that the chat template does not show -> rows")
