"""PostgreSQL's connections: bounded waits, and no round trip to learn whether one is still there."""

import select
from typing import Any, Final

from psycopg import OperationalError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

_CONNECT: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds; or what was sent to nobody would be waited for a quarter of an hour
}
IDLE_IN_TRANSACTION_S: Final = 10
"""A process that is stopped in mid-transaction keeps its locks no longer; less than any lease of a role."""


def postgresql_engine(url: str) -> Engine:
    """A pool of connections, each of which is looked at before use. Errors name no values."""
    engine = create_engine(url, connect_args=_CONNECT, pool_size=10, max_overflow=20, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _limits(connection: Any, _record: Any) -> None:
        connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S}s'")
        connection.commit()

    @event.listens_for(engine, "checkout")
    def _leave_the_dead(connection: Any, _record: Any, _proxy: Any) -> None:
        if has_ended(connection):
            raise InvalidatePoolError  # the others of its age went the same way; the pool connects anew

    return engine


def has_ended(connection: Any) -> bool:
    """Whether the server has said something to an idle connection, which is goodbye.

    The kernel knows of a server that ended the connection, died, or has not answered keepalives for 25 seconds. A ping
    would learn no more, for a round trip before every transaction.
    """
    try:
        look = select.poll()
        look.register(connection.fileno(), select.POLLIN)
        return bool(look.poll(0))
    except OperationalError:  # closed on this side
        return True
