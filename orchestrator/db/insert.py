"""Single INSERTs past the unit of work, where a row is written often and nothing else of it is needed."""

from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Insert, Table, insert, inspect

from orchestrator.db.columns import Base

RowT = TypeVar("RowT", bound=Base)


def fresh(table: type[RowT], **columns: Any) -> RowT:
    """A row of no session, with the defaults of its columns filled in as a flush would."""
    return table(**(_defaults(table) | columns))


def insert_now(connection: Connection, row: Base) -> None:
    """INSERT a row that `fresh` made, in the caller's transaction. A key that the database draws is not read back.

    What nobody gave stays NULL without being named: psycopg remembers no statement of more than 50 parameters, and
    would take a whole job's apart each time.
    """
    statement, columns = _insertion(type(row))
    given = {columns[name]: value for name, value in row.__dict__.items() if name in columns}
    connection.execute(statement, given)


@cache
def _defaults(table: type[Base]) -> dict[str, Any]:
    columns = inspect(table).columns
    plain = {name: column.default for name, column in columns.items() if column.default is not None}
    return {name: default.arg for name, default in plain.items() if default.is_scalar}  # type: ignore[attr-defined]


@cache
def _insertion(table: type[Base]) -> tuple[Insert, dict[str, str]]:
    """The statement, and the column of each attribute."""
    columns = inspect(table).columns
    return insert(cast(Table, table.__table__)).inline(), {name: column.name for name, column in columns.items()}
