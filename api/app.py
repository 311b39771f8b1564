"""The application: routes over services. Importing this module does not load torch, Ray or MLflow."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from api import errors
from api.request_context import RequestContext
from api.routes import admin, checkpoints, docs, extras, files, health, jobs, models, previews, usage, webhooks
from api.routes import uploads as uploads_in_parts
from api.routes.event_stream import EventStreams
from api.services import Services
from orchestrator.uploads.parts import MAX_PART_BYTES

_DESCRIPTION = """\
Fine-tuning behind OpenAI's API: point a stock OpenAI client at `/v1`. Fields that OpenAI does not have are under the
key `x_orchard`, in requests and responses. Every error has the body `{"error": {message, type, param, code}}`, and
every response has an `x-request-id`.
"""


def create_app(services: Services) -> FastAPI:
    """The application over `services`."""
    app = FastAPI(
        title="Orchard",
        version=_version(),
        description=_DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's pages load scripts from other hosts
        redoc_url=None,
    )
    app.state.services = services
    app.state.event_streams = EventStreams(services)
    errors.install(app)
    uploads = {"/v1/files": services.max_file_bytes, "/v1/uploads/[^/]+/parts": MAX_PART_BYTES}
    app.add_middleware(RequestContext, uploads=uploads)
    for module in (
        files,
        uploads_in_parts,
        jobs,
        previews,
        checkpoints,
        models,
        webhooks,
        usage,
        extras,
        admin,
        health,
    ):
        app.include_router(module.router)
    docs.install(app)
    return app


def _version() -> str:
    try:
        return version("orchard")
    except PackageNotFoundError:  # run from a source tree
        return "0"
