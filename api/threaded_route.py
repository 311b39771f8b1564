"""Endpoints that switch threads only once."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from fastapi.routing import APIRoute

from api.threads import in_thread


class ThreadedRoute(APIRoute):
    """A route whose sync endpoint runs in a thread, and whose response is validated on the event loop.

    FastAPI validates the response of a sync endpoint in another thread, and switching there costs more than the
    validation.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _in_a_thread(endpoint), **options)


def _in_a_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(endpoint) or inspect.isgeneratorfunction(endpoint):
        return endpoint

    @wraps(endpoint)
    async def call(**arguments: Any) -> Any:
        return await in_thread(endpoint, **arguments)

    return call
