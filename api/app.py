"""The application: routes over services. Importing this module loads no torch, Ray or MLflow."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from api import errors
from api.request_context import RequestContext
from api.routes import admin, extras, files, health, jobs, models, usage, webhooks
from api.services import Services

_DESCRIPTION = """\
Fine-tuning behind OpenAI's API: point a stock OpenAI client at `/v1`. What OpenAI has no word for is under the one key
`x_orchard`, in requests and in answers. Every error has the body `{"error": {message, type, param, code}}`, and every
answer an `x-request-id`.
"""


def create_app(services: Services) -> FastAPI:
    """The application over `services`."""
    app = FastAPI(title="Orchard", version=_version(), description=_DESCRIPTION, redirect_slashes=False, redoc_url=None)
    app.state.services = services
    errors.install(app)
    app.add_middleware(RequestContext, upload_path="/v1/files", upload_bytes=services.max_file_bytes)
    for module in (files, jobs, models, webhooks, usage, extras, admin, health):
        app.include_router(module.router)
    return app


def _version() -> str:
    try:
        return version("orchard")
    except PackageNotFoundError:  # run from a source tree
        return "0"
