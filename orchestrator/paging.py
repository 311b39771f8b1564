"""Cursor paging: `after` names the last item of the previous page, `limit` bounds the page."""

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

    `owner` is the condition that makes rows visible to the caller; the cursor must satisfy it too.
    Raises: InvalidRequest if `after` names nothing the caller can see.
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
