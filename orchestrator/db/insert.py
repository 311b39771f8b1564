"""Single INSERTs that bypass the unit of work, for rows that are written often and not used afterwards."""

from functools import cache
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Insert, Table, insert, inspect
from sqlalchemy.orm import configure_mappers
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from orchestrator.db.columns import Base

RowT = TypeVar("RowT", bound=Base)


def new_row(table: type[RowT], **columns: Any) -> RowT:
    """A row for `insert_row`, with its columns' defaults filled in. Raises: TypeError for an unknown column.

    It bypasses the mapper's constructor, which would needlessly track changes of a job's forty columns.
    """
    blank = _blank(table)
    if unknown := columns.keys() - blank.keys():
        raise TypeError(f"{table.__name__} has no column {', '.join(sorted(unknown))}")
    row = cast(RowT, inspect(table).class_manager.new_instance())
    row.__dict__.update(blank | columns)
    return row


def insert_row(connection: Connection, row: Base) -> None:
    """INSERT a row in the caller's transaction. A generated key is not read back.

    It omits None values: psycopg does not cache statements with more than 50 parameters and would parse a full job
    row's each time.
    """
    statement, columns = _insertion(type(row))
    given = {columns[name]: value for name, value in row.__dict__.items() if value is not None and name in columns}
    connection.execute(statement, given)


@cache
def _blank(table: type[Base]) -> dict[str, Any]:
    """Each column's default, or None. Computed defaults are left to the INSERT."""
    configure_mappers()  # the constructor would do this
    defaults = {name: column.default for name, column in inspect(table).columns.items()}
    return {
        name: default.arg if isinstance(default, ScalarElementColumnDefault) else None
        for name, default in defaults.items()
    }


@cache
def _insertion(table: type[Base]) -> tuple[Insert, dict[str, str]]:
    """The statement and the column of each attribute."""
    columns = inspect(table).columns
    return insert(cast(Table, table.__table__)).inline(), {name: column.name for name, column in columns.items()}
