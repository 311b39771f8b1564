"""`/docs`: the OpenAPI document as a page that needs no other host. `/` leads there.

Swagger UI comes from the package fastapi-offline, which holds its files; nothing else of that package is used.
"""

from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

ASSETS: Final = "/docs/assets"
_PAGE: Final = Path(__file__).parent.parent / "docs_page"
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # Swagger UI's icons
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",  # asked for again, and answered with 304 unless a release changed it
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def root(request: Request) -> RedirectResponse:
    """Lead to the documentation."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


@router.get("/docs")
async def page() -> FileResponse:
    """The page."""
    return FileResponse(_PAGE / "index.html", headers=_HEADERS)


class _Assets(StaticFiles):
    """The page's files, under the page's policy."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(_HEADERS)
        return response


def install(app: FastAPI) -> None:
    """Serve the page and its files."""
    app.include_router(router)
    app.mount(ASSETS, _Assets(directory=_PAGE / "assets", packages=[("fastapi_offline", "static")]))
