"""Probes. `/healthz`: the process responds. `/readyz`: it can serve."""

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api.services import ServicesDep
from orchestrator.db.readiness import Readiness, readiness

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
def healthz() -> Health:
    """Whether the process responds."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
def readyz(response: Response, services: ServicesDep) -> Readiness:
    """Whether the database responds and has the newest schema."""
    state = readiness(services.db)
    if not state.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return state
