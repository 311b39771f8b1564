"""Lease rows: taken, renewed and released by compare-and-set, by the database's clock."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Update, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from orchestrator.db.clock import db_clock
from orchestrator.db.tables import LeaseRow
from orchestrator.leadership.holder import is_dead


@dataclass(frozen=True)
class Grant:
    """A granted lease: its name, holder and term."""

    name: str
    holder: str
    term: int


def acquire(session: Session, name: str, holder: str, ttl_s: int) -> Grant | None:
    """Take the lease if it is free: never taken, expired, or held by a process known to be dead. Else None."""
    row = session.execute(select(LeaseRow.holder, LeaseRow.term).where(LeaseRow.name == name)).one_or_none()
    if row is None:
        return _first(session, name, holder, ttl_s)
    seen = (LeaseRow.name == name, LeaseRow.term == row.term)
    free = () if is_dead(row.holder) else (LeaseRow.expires_at <= db_clock(),)
    values = {"holder": holder, "term": row.term + 1, "expires_at": db_clock(ttl_s)}
    taken = session.execute(_quiet(update(LeaseRow).where(*seen, *free).values(**values)))
    return Grant(name, holder, row.term + 1) if taken.first() is not None else None


def renew(session: Session, grant: Grant, ttl_s: int) -> bool:
    """Hold it for another `ttl_s` seconds. False: another process has it. An expired lease may be renewed."""
    values = {"expires_at": db_clock(ttl_s)}
    return session.execute(_quiet(update(LeaseRow).where(*_its_row(grant)).values(**values))).first() is not None


def give_back(session: Session, grant: Grant) -> None:
    """Release it, so that another process can take it at once."""
    session.execute(_quiet(update(LeaseRow).where(*_its_row(grant)).values(expires_at=db_clock())))


def holds(connection: Connection, grant: Grant) -> bool:
    """Whether the term is current. On PostgreSQL no other term begins before this transaction ends. SQLite has a single
    writer anyway and ignores the lock clause.
    """
    term = select(LeaseRow.term).where(*_its_row(grant)).with_for_update(read=True)
    return connection.execute(term).first() is not None


def _first(session: Session, name: str, holder: str, ttl_s: int) -> Grant | None:
    try:
        with session.begin_nested():
            session.add(LeaseRow(name=name, holder=holder, term=1, expires_at=db_clock(ttl_s)))
    except IntegrityError:  # another process was first
        return None
    return Grant(name, holder, 1)


def _its_row(grant: Grant) -> tuple[ColumnElement[bool], ...]:
    return LeaseRow.name == grant.name, LeaseRow.holder == grant.holder, LeaseRow.term == grant.term


def _quiet(statement: Update) -> ReturningUpdate[int]:
    return statement.execution_options(synchronize_session=False).returning(LeaseRow.term)
