"""`LosesAnswers`: an application that does its work but loses the answer, like a proxy with a short timeout."""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LosesAnswers:
    """The first `times` POSTs to `path` are served and committed, then answered with a bare 500."""

    def __init__(self, app: ASGIApp, path: str, times: int) -> None:
        self._app, self._path, self._left = app, path, times
        self.retry_counts: list[str] = []
        """The retry count that each POST to `path` sent, in order."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != ("POST", self._path):
            await self._app(scope, receive, send)
            return
        self.retry_counts.append(Headers(scope=scope).get("x-stainless-retry-count", ""))
        if self._left == 0:
            await self._app(scope, receive, send)
            return
        self._left -= 1

        async def lose(_: Message) -> None:
            pass

        await self._app(scope, receive, lose)
        await JSONResponse({"oops": True}, 500)(scope, receive, send)
