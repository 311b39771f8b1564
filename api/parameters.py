"""Parameters that several routes share, and their bounds: no number or text of a URL or header is unbounded.

Ids of paths have no bound of their own: a URL has one, and an id that nobody has is a 404, however long.
"""

from typing import Annotated, Final

from fastapi import Header, Query

MAX_ID_CHARS: Final = 64
MAX_INTEGER: Final = 2**31 - 1  # of an INTEGER column of PostgreSQL

After = Annotated[str | None, Query(max_length=MAX_ID_CHARS, description="id of the last item of the page before")]
LastEventId = Annotated[
    str | None, Header(max_length=MAX_ID_CHARS, description="with `stream`: continue after this event")
]
RetryCount = Annotated[int, Header(ge=0, le=MAX_INTEGER, description="retry count of OpenAI's clients")]
