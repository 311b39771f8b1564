"""Cursor paging: `after` names the last item of the previous page, `limit` bounds the page.

An item may go while its list is read (`for file in client.files.list(): client.files.delete(file.id)`), so a cursor is
a place and no item: rows of paged lists outlive what they stand for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from orchestrator.errors import InvalidRequest

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Items in order, and whether more follow."""

    items: list[T]
    has_more: bool

    def map(self, view: Callable[[T], R]) -> "Page[R]":
        """The same page with `view` applied to each item."""
        return Page([view(item) for item in self.items], self.has_more)


@dataclass(frozen=True)
class PageWindow:
    """The requested page. `ascending`: oldest first."""

    limit: int
    after: str | None = None
    ascending: bool = False


def page(session: Session, query: Select[*tuple[Any, ...]], table: Any, owner: Any, window: PageWindow) -> Page[Any]:
    """Run `query` for one window of rows of `table`, ordered by `table.seq`.

    `owner`: the row is the caller's, be it still shown or not. Items and cursor satisfy it.
    `query` selects what is shown, and the cursor need not be among it.
    Raises: InvalidRequest if `after` names nothing that is or was the caller's.
    """
    seq: InstrumentedAttribute[int] = table.seq
    if window.after is not None:
        cursor = session.scalar(select(seq).where(table.id == window.after, owner))
        if cursor is None:
            raise InvalidRequest(f"No item '{window.after}' to continue after.", param="after")
        query = query.where(seq > cursor if window.ascending else seq < cursor)
    query = query.where(owner).order_by(seq.asc() if window.ascending else seq.desc()).limit(window.limit + 1)
    rows = list(session.execute(query).all())
    return Page(rows[: window.limit], len(rows) > window.limit)
