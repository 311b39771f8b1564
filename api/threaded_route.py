"""Endpoints that change threads once."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from fastapi.routing import APIRoute

from api.threads import in_thread


class ThreadedRoute(APIRoute):
    """A route whose plain endpoint runs in a thread, and whose answer is checked on the event loop.

    FastAPI would send the answer of a plain endpoint to a thread of its own to be checked, which is less work than the
    way there and back.
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
