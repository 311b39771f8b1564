"""The error tree of the services: why a request is refused.

Each class has a kind, which `api.errors` maps to HTTP. To add an error, write a subclass whose docstring is its
default message. `code` is a stable identifier for programs; `param` names the request field to change.
"""

from enum import StrEnum
from typing import ClassVar

from workers.contract.errors import OrchardError


class Kind(StrEnum):
    """What the caller can do after the refusal."""

    INVALID = "invalid"
    """Change the request."""
    UNAUTHENTICATED = "unauthenticated"
    """Present a valid key."""
    FORBIDDEN = "forbidden"
    """Present another key."""
    NOT_FOUND = "not_found"
    """It does not exist, or it belongs to another tenant."""
    TOO_LARGE = "too_large"
    """Send less."""
    UNPROCESSABLE = "unprocessable"
    """The request contradicts an earlier one."""
    QUOTA = "quota"
    """Wait until the tenant frees some of its quota; an immediate retry fails again."""
    BUSY = "busy"
    """Retry in a moment: the caller itself has too much open at once."""
    UNAVAILABLE = "unavailable"
    """Retry in a moment: a dependency of the service does not respond."""
    TOO_SLOW = "too_slow"
    """Ask for less at a time; the same request at once would take as long again."""
    FULL = "full"
    """An operator must free space; the caller can do nothing."""


class ServiceError(OrchardError):
    """The request was refused."""

    kind: ClassVar[Kind] = Kind.INVALID
    default_code: ClassVar[str | None] = None

    def __init__(self, message: str | None = None, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code or self.default_code


class InvalidRequest(ServiceError):
    """A field of the request cannot be accepted."""

    default_code = "invalid_value"


class Unauthenticated(ServiceError):
    """No valid API key was given."""

    kind = Kind.UNAUTHENTICATED
    default_code = "invalid_api_key"


class Forbidden(ServiceError):
    """This key may not do that."""

    kind = Kind.FORBIDDEN
    default_code = "insufficient_permissions"


class TenantSuspended(Forbidden):
    """The operator suspended this tenant. Its jobs rest and nothing is lost; ask your administrator."""

    default_code = "tenant_suspended"


class NotFound(ServiceError):
    """There is no such thing."""

    kind = Kind.NOT_FOUND
    default_code = "not_found"


class TooLarge(ServiceError):
    """The upload is larger than the service accepts."""

    kind = Kind.TOO_LARGE
    default_code = "file_too_large"


class IdempotencyMismatch(ServiceError):
    """The Idempotency-Key was used before with another body. Use a new key for a new request."""

    kind = Kind.UNPROCESSABLE
    default_code = "idempotency_key_reused"


class QuotaExceeded(ServiceError):
    """The tenant has used up its quota."""

    kind = Kind.QUOTA
    default_code = "insufficient_quota"


class TooManyStreams(ServiceError):
    """The key has too many event streams open."""

    kind = Kind.BUSY
    default_code = "too_many_streams"


class DatabaseDown(ServiceError):
    """The service cannot reach its database now. Repeat the request in a moment."""

    kind = Kind.UNAVAILABLE
    retryable = True
    default_code = "database_unavailable"


class TooSlow(ServiceError):
    """The answer took longer than the service allows. Ask for less: a smaller page or fewer filters."""

    kind = Kind.TOO_SLOW
    default_code = "request_too_slow"


class StorageDown(ServiceError):
    """The service cannot reach its storage now. Repeat the request in a moment."""

    kind = Kind.UNAVAILABLE
    retryable = True
    default_code = "storage_unavailable"


class StorageMissing(StorageDown):
    """An object is missing from storage."""


class EncodingFailed(ServiceError):
    """The rows could not be turned into tokens, through no fault of theirs. Try again in a moment."""

    kind = Kind.UNAVAILABLE
    retryable = True
    default_code = "encoding_failed"


class ValidationInterrupted(ServiceError):
    """The check of the file was interrupted, and nothing of it was kept. Send it again in a moment."""

    kind = Kind.UNAVAILABLE
    retryable = True
    default_code = "validation_interrupted"


class StorageFull(ServiceError):
    """The service has no space left. Delete files you no longer need, or ask your operator for more."""

    kind = Kind.FULL
    retryable = True
    default_code = "storage_full"
