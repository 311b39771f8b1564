"""Authenticates requests by their `Authorization` header."""

from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param

from api.parameters import MAX_ID_CHARS
from api.request_context import note_principal
from api.services import services_of
from orchestrator.errors import Forbidden
from orchestrator.tenancy.authenticate import authenticate
from orchestrator.tenancy.views import Principal, Role, Tenant


class _ByKey(SecurityBase):
    """The principal of a request's key. One dependency instead of three: FastAPI resolves the tree for each request.

    A suspended tenant's key is refused, except where `even_suspended`.
    """

    def __init__(self, *, even_suspended: bool = False) -> None:
        self._even_suspended = even_suspended
        self.scheme_name = "api_key"
        self.model = HTTPBearer(description="`Authorization: Bearer sk-orchard-…`")

    async def __call__(
        self,
        request: Request,
        openai_organization: Annotated[
            str | None, Header(max_length=MAX_ID_CHARS, description="must match the key, if sent")
        ] = None,
    ) -> Principal:
        services = services_of(request)
        scheme, secret = get_authorization_scheme_param(request.headers.get("authorization"))
        key = secret if scheme.lower() == "bearer" else None
        principal = await run_in_threadpool(authenticate, services.db, key, openai_organization, services.clock())
        note_principal(principal)
        if principal.tenant is not None and not self._even_suspended:
            principal.tenant.require_active()
        return principal


PrincipalDep = Annotated[Principal, Depends(_ByKey())]
EvenSuspendedDep = Annotated[Principal, Depends(_ByKey(even_suspended=True))]
"""For what a suspended tenant may still ask: who it is, and why its jobs rest."""


async def _tenant(principal: PrincipalDep) -> Tenant:
    if principal.tenant is None:
        raise Forbidden("This is an admin key. Files, jobs and models belong to tenants: use a tenant's key.")
    return principal.tenant


async def _admin(principal: PrincipalDep) -> Principal:
    if principal.role is not Role.ADMIN:
        raise Forbidden("This needs an admin key.")
    return principal


async def _suspended_tenant(principal: EvenSuspendedDep) -> Tenant:
    return await _tenant(principal)


SuspendedTenantDep = Annotated[Tenant, Depends(_suspended_tenant)]
TenantDep = Annotated[Tenant, Depends(_tenant)]
AdminDep = Annotated[Principal, Depends(_admin)]
