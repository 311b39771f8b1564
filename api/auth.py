"""From the `Authorization` header to whom a request speaks for."""

from typing import Annotated

from fastapi import Depends, Header
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.services import ServicesDep
from orchestrator.errors import Forbidden
from orchestrator.tenancy.authenticate import authenticate
from orchestrator.tenancy.views import Principal, Role, Tenant

_bearer = HTTPBearer(auto_error=False, scheme_name="api_key", description="`Authorization: Bearer sk-orchard-…`")


def _principal(
    services: ServicesDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    openai_organization: Annotated[str | None, Header(description="must agree with the key, if sent")] = None,
) -> Principal:
    secret = None if credentials is None else credentials.credentials
    return authenticate(services.db, secret, openai_organization, services.clock())


PrincipalDep = Annotated[Principal, Depends(_principal)]


async def _tenant(principal: PrincipalDep) -> Tenant:
    if principal.tenant is None:
        raise Forbidden("This is an admin key. Files, jobs and models belong to tenants: use a tenant's key.")
    return principal.tenant


async def _admin(principal: PrincipalDep) -> Principal:
    if principal.role is not Role.ADMIN:
        raise Forbidden("This needs an admin key.")
    return principal


TenantDep = Annotated[Tenant, Depends(_tenant)]
AdminDep = Annotated[Principal, Depends(_admin)]
