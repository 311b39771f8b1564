"""OpenAI's list envelope."""

from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from orchestrator.paging import Page

T = TypeVar("T", bound=BaseModel)


class Listing(BaseModel, Generic[T]):
    """A page. Clients fetch the next one with `after=<last_id>` while `has_more`."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


def listing(page: Page[T]) -> Listing[T]:
    """The envelope of one page."""
    ids: Sequence[str] = [getattr(item, "id") for item in page.items]  # noqa: B009
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return Listing(data=page.items, first_id=first, last_id=last, has_more=page.has_more)


def whole(items: list[T]) -> Listing[T]:
    """The envelope of a list that is never cut."""
    return listing(Page(items, has_more=False))
