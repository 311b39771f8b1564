"""The error tree of the workers. Every error has a code, states whether a retry can help, and survives pickling.

To add one: a member of `ErrorCode`, a subclass whose docstring is its default message, and a row in
`tests/unit/test_errors.py`. Keep `__init__` to the single message argument, or give `__reduce__` the rest:
Ray pickles exceptions across processes.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from workers.contract.rows import RowIssue


class ErrorCode(StrEnum):
    """Stable names: shown to tenants in `job.error.code`, counted in dashboards."""

    INVALID_TRAINING_FILE = "invalid_training_file"
    INVALID_VALIDATION_FILE = "invalid_validation_file"
    INVALID_TARGET_MODULES = "invalid_target_modules"
    NON_FINITE_LOSS = "non_finite_loss"
    NO_GRADIENT = "no_gradient"
    OUT_OF_MEMORY = "out_of_memory"
    BASE_UNAVAILABLE = "base_unavailable"
    BASE_REFUSED = "base_refused"
    BASE_UNUSABLE = "base_unusable"
    BASE_DIGEST_MISMATCH = "base_digest_mismatch"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    ENCODED_ROWS_LOST = "encoded_rows_lost"
    ENCODING_FAILED = "encoding_failed"
    HOST_FULL = "host_full"
    HOST_LOST = "host_lost"
    MAX_RUNTIME_EXCEEDED = "max_runtime_exceeded"
    INTERNAL = "internal_error"


class OrchardError(Exception):
    """Base of every error that is told to somebody: a stable code, and whether a retry may help.

    The docstring of a subclass is its default message.
    """

    code: str | None = None
    retryable: bool = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())


class WorkerError(OrchardError):
    """An unexpected error occurred on the worker."""

    code: ErrorCode = ErrorCode.INTERNAL
    retryable = True


class UserError(WorkerError):
    """The job cannot succeed as submitted; a retry would fail the same way."""

    retryable = False


class DataError(UserError):
    """The file has rows that cannot be trained on."""

    code = ErrorCode.INVALID_TRAINING_FILE

    def __init__(self, message: str | None = None, issues: Sequence[RowIssue] = ()) -> None:
        super().__init__(message)
        self.issues = tuple(issues)

    def __reduce__(self) -> tuple[type, tuple[str, tuple[RowIssue, ...]]]:
        return type(self), (str(self), self.issues)


class InvalidTargetModules(UserError):
    """The base has no linear of that name to adapt."""

    code = ErrorCode.INVALID_TARGET_MODULES


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite; lower the learning rate or inspect the rows of that step."""

    code = ErrorCode.NON_FINITE_LOSS


class BaseRefused(UserError):
    """The base folder holds files that Orchard does not load, such as pickles or remote code."""

    code = ErrorCode.BASE_REFUSED


class MaxRuntimeExceeded(UserError):
    """The attempts of the job together ran longer than its max_runtime_s."""

    code = ErrorCode.MAX_RUNTIME_EXCEEDED


class InfraError(WorkerError):
    """The infrastructure failed, not the job; the attempt may be retried."""


class NoGradient(InfraError):
    """A trainable tensor received no gradient on the seat's first step: the base does not back-propagate."""

    code = ErrorCode.NO_GRADIENT
    retryable = False


class OutOfMemory(InfraError):
    """The device has too little memory for this seat."""

    code = ErrorCode.OUT_OF_MEMORY


class BaseUnavailable(InfraError):
    """The base's weights could not be read."""

    code = ErrorCode.BASE_UNAVAILABLE


class BaseUnusable(InfraError):
    """The base cannot be loaded or trained as its catalogue entry asks; only its operator can change that."""

    code = ErrorCode.BASE_UNUSABLE
    retryable = False


class BaseDigestMismatch(InfraError):
    """The base's weights differ from the ones the catalogue pins, or changed while resident."""

    code = ErrorCode.BASE_DIGEST_MISMATCH
    retryable = False


class StorageUnavailable(InfraError):
    """Storage could not be read or written."""

    code = ErrorCode.STORAGE_UNAVAILABLE


class StorageMissing(StorageUnavailable):
    """A file is missing from storage; a retry cannot restore it."""

    retryable = False


class EncodedRowsLost(InfraError):
    """The job's encoded rows are missing from storage or damaged; they are encoded again."""

    code = ErrorCode.ENCODED_ROWS_LOST


class EncodingFailed(InfraError):
    """The encoder failed, not the file."""

    code = ErrorCode.ENCODING_FAILED


class HostFull(InfraError):
    """The host has no free seat."""

    code = ErrorCode.HOST_FULL


FAULTS_OF_A_BASE: Final = frozenset({ErrorCode.BASE_UNUSABLE, ErrorCode.BASE_REFUSED, ErrorCode.BASE_DIGEST_MISMATCH})
"""Why a host could not load its base, where every other host would fail in the same way."""
