"""The encoder as the control plane sees it: it turns files into rows of tokens, away from every device."""

from typing import Final, Protocol

from pydantic import Field

from workers.contract.base import BaseSpec
from workers.contract.encoded import EncodedRef
from workers.contract.errors import ErrorCode
from workers.contract.issues import MAX_ISSUES
from workers.contract.model import Frozen
from workers.contract.rows import RowIssue
from workers.contract.spec import DatasetRef, DataSpec
from workers.contract.tasks import Task

ENCODER_VERSION: Final = 1
"""Increase it when the same file and options give other tokens: stored rows of earlier versions are not used then."""
ENCODER_RESOURCE: Final = "encoder"
"""What an encoder asks of Ray, in place of a device."""
MAX_ORDERS: Final = 2
"""Orders that an encoder holds, the one at work included: the two files of a job."""


class EncodeLimits(Frozen):
    """How long encoding may take, in seconds of the processor: a busy machine is not the rows' fault."""

    row_s: float = Field(30.0, gt=0, description="of one row")
    file_s: float = Field(7_200.0, gt=0, description="of the whole file")
    still_s: float = Field(
        600.0,
        gt=0,
        description="by the clock, without progress on a row, the base's files or storage; beyond it the machine hangs",
    )


class EncodeOrder(Frozen):
    """One file to encode and where to store its rows. `key` names the result: equal keys mean equal rows."""

    key: str
    attempt: int = Field(ge=1, description="number of this try; results of other tries are not asked for")
    base: BaseSpec
    task: Task
    data: DataSpec = Field(description="the file, as `training`, and the options; `validation` is not read")
    uri: str = Field(description="folder for the rows and their manifest")
    cache_dir: str = Field(description="local folder for tokenizers that take long to make")
    limits: EncodeLimits = EncodeLimits()

    @property
    def dataset(self) -> DatasetRef:
        """The file."""
        return self.data.training


class EncodeResult(Frozen):
    """How an order ended: with encoded rows, or with an error. The file's own errors do not go away by a retry."""

    key: str
    attempt: int
    encoded: EncodedRef | None = None
    error_code: ErrorCode | None = None
    message: str | None = None
    retryable: bool = False
    issues: tuple[RowIssue, ...] = Field((), max_length=MAX_ISSUES)


class EncoderReport(Frozen):
    """The answer to `poll`. An order that it names nowhere was never taken, or is long over."""

    pid: int = Field(description="of the process that encodes; 0: none yet")
    orders: tuple[tuple[str, int], ...] = Field(
        (), description="key and attempt of what it holds; the first is at work"
    )
    rows_read: int = Field(0, ge=0, description="rows of the first one that are tokens")
    results: tuple[EncodeResult, ...] = Field((), description="of the newest orders that ended")


class EncoderBusy(Exception):
    """The encoder holds as many orders as it may."""


class Encoder(Protocol):
    """Turns files into tokens, one after the other. Calls return at once and may be repeated."""

    def encode(self, order: EncodeOrder) -> None:
        """Take an order, unless it has it already. A newer attempt takes over what an earlier one has done.

        Raises: EncoderBusy.
        """

    def abandon(self, key: str) -> None:
        """Stop work on the order, also in the middle of a row. It gets no result."""

    def poll(self) -> EncoderReport:
        """What it does, and how its newest orders ended."""
