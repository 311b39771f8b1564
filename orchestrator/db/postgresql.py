"""PostgreSQL connections: bounded waits, and liveness checks without a round trip."""

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
    "tcp_user_timeout": 25_000,  # milliseconds; by default unacknowledged data would block for 15 minutes
}
IDLE_IN_TRANSACTION_S: Final = 10
"""A process suspended mid-transaction loses its locks after this; shorter than any role lease."""


def postgresql_engine(url: str, statement_timeout_s: float | None = None) -> Engine:
    """A pool that checks each connection before use. Errors contain no values.

    A statement that takes longer than `statement_timeout_s` seconds, locks included, is cancelled; None: never.
    """
    engine = create_engine(url, connect_args=_CONNECT, pool_size=10, max_overflow=20, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _limits(connection: Any, _record: Any) -> None:
        connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_S}s'")
        if statement_timeout_s is not None:
            connection.execute(f"SET statement_timeout = '{statement_timeout_s * 1_000:.0f}ms'")
        connection.commit()

    @event.listens_for(engine, "checkout")
    def _leave_the_dead(connection: Any, _record: Any, _proxy: Any) -> None:
        if has_ended(connection):
            raise InvalidatePoolError  # the pool's other connections died too; reconnect them all

    return engine


def has_ended(connection: Any) -> bool:
    """Whether an idle connection has data to read, which means that the server closed it.

    The kernel detects a server that closed the connection, died, or missed keepalives for 25 seconds. A ping would
    detect no more, and would cost a round trip before every transaction.
    """
    try:
        look = select.poll()
        look.register(connection.fileno(), select.POLLIN)
        return bool(look.poll(0))
    except OperationalError:  # closed on this side
        return True
