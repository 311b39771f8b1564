"""Distinguishes outages, which callers may retry, from bugs, which developers must fix."""

import errno
import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from orchestrator.errors import DatabaseDown, ServiceError, StorageFull, TooSlow

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DISK_FULL: Final = "53100"  # SQLSTATE of PostgreSQL
_CANCELED: Final = "57014"  # by statement_timeout: nobody else cancels what the services ask
_READ_ONLY: Final = "25006"  # a standby, in the middle of a failover


def outage(error: Exception) -> ServiceError | None:
    """The outage that `error` indicates, with `error` as its cause; None for a bug.

    `orchestrator.storage.objects.storage_errors` covers storage outages. This covers the database and a full local
    disk.
    """
    if isinstance(error, ServiceError):
        return error
    kind = _kind(error)
    if kind is None:
        return None
    known = kind()
    known.__cause__ = error
    return known


def _kind(error: Exception) -> type[ServiceError] | None:
    match error:
        case DBAPIError() if _is_interrupted(error):
            return TooSlow
        case DBAPIError() if _is_full(error):
            return StorageFull
        case OperationalError() | InterfaceError() | PoolExhausted():
            return DatabaseDown
        case DBAPIError() if error.connection_invalidated or getattr(error.orig, "sqlstate", None) == _READ_ONLY:
            return DatabaseDown
        case OSError() if error.errno in NO_SPACE:
            return StorageFull
    return None


def _is_full(error: DBAPIError) -> bool:
    sqlite = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return sqlite or getattr(error.orig, "sqlstate", None) == _DISK_FULL


def _is_interrupted(error: DBAPIError) -> bool:
    sqlite = getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT
    return sqlite or getattr(error.orig, "sqlstate", None) == _CANCELED
