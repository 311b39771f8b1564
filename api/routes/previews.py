"""`/v1/fine_tuning/x/preview`: the rows of a submission as tokens."""

import asyncio
from http import HTTPStatus
from time import monotonic
from typing import Final

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from api.auth import TenantDep
from api.errors import documented
from api.services import ServicesDep
from orchestrator.submission.preview import PreviewRequest, ask, show
from workers.contract.preview import PreviewView

router = APIRouter(prefix="/v1/fine_tuning/x", tags=["orchard"])
LOOK_S: Final = 0.1
"""Before the answer is looked for again; then a little longer each time, up to `MAX_LOOK_S`."""
MAX_LOOK_S: Final = 1.0


@router.post("/preview", responses=documented(HTTPStatus.NOT_FOUND))
async def preview(body: PreviewRequest, tenant: TenantDep, services: ServicesDep) -> PreviewView:
    """The first rows as tokens with their weights in the loss, and a summary of all rows. Nothing is trained.

    The files are encoded as for a job, which then has its rows at once. The answer's status is `running` while that
    takes long: repeat the request to go on.
    """
    asked = await run_in_threadpool(ask, services.submit_deps, tenant, body, services.clock())
    until, pause_s = monotonic() + services.preview_wait_s, LOOK_S
    while True:  # without a thread, for many may wait
        view = await run_in_threadpool(show, services.submit_deps, asked, body.rows, services.clock())
        if view.status == "done" or monotonic() > until:
            return view
        await asyncio.sleep(pause_s)
        pause_s = min(1.2 * pause_s, MAX_LOOK_S)
