"""Creates, updates and finds tenants."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictInt
from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError

from orchestrator.catalogue.entries import Catalogue
from orchestrator.db.database import Database
from orchestrator.db.tables import TenantRow
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.ids import new_id
from orchestrator.tenancy.views import Tenant, TenantView
from orchestrator.text import SingleLine, matching
from workers.contract.spec import MAX_FAIR_WEIGHT

_SLUG = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
Weight = Annotated[
    StrictInt,
    Field(
        ge=1,
        le=MAX_FAIR_WEIGHT,
        description="share of a host's tokens relative to other tenants: 2 gets twice as many as 1",
    ),
]


class NewTenant(BaseModel):
    """An admin's request to create a tenant."""

    model_config = ConfigDict(extra="forbid")

    slug: Annotated[
        str,
        Field(
            min_length=2,
            max_length=63,
            description="short name, used in model names and in the registry",
            json_schema_extra={"pattern": _SLUG},
        ),
        matching(_SLUG, "lower case letters, digits and '-', and neither begin nor end with '-'"),
    ]
    name: Annotated[SingleLine, Field(min_length=1, max_length=200)]
    allowed_bases: list[Annotated[SingleLine, Field(max_length=128)]] | None = Field(
        None, max_length=1_000, description="base ids; null: every base of the catalogue"
    )
    weight: Weight = 1


class TenantChanges(BaseModel):
    """Changes to a tenant; omitted fields stay."""

    model_config = ConfigDict(extra="forbid")

    weight: Weight | None = Field(None, description="for jobs submitted from now on")


def create_tenant(db: Database, catalogue: Catalogue, new: NewTenant, now: datetime) -> TenantView:
    """Create a tenant. Raises: InvalidRequest if the slug is taken or a base is not in the catalogue."""
    for base_id in new.allowed_bases or ():
        if catalogue.base(base_id) is None:
            known = ", ".join(base.id for base in catalogue.bases)
            raise InvalidRequest(f"No base '{base_id}' in the catalogue; it has: {known}.", param="allowed_bases")
    fields = new.model_dump(include={"slug", "name", "allowed_bases", "weight"})
    row = TenantRow(id=new_id("tenant-"), created_at=now, **fields)
    try:
        with db.write() as session:
            session.add(row)
    except IntegrityError:
        raise InvalidRequest(f"A tenant '{new.slug}' already exists.", param="slug", code="slug_taken") from None
    return TenantView.of(row)


def update_tenant(db: Database, id_or_slug: str, changes: TenantChanges) -> TenantView:
    """Update a tenant. Raises: NotFound."""
    tenant_id = get_tenant(db, id_or_slug).id
    with db.write() as session:
        row = session.get_one(TenantRow, tenant_id)
        for name, value in changes.model_dump(exclude_none=True).items():
            setattr(row, name, value)
    return TenantView.of(row)


def list_tenants(db: Database) -> list[TenantView]:
    """Every tenant, newest first."""
    with db.read() as session:
        rows = session.scalars(select(TenantRow).order_by(TenantRow.created_at.desc(), TenantRow.slug)).all()
    return [TenantView.of(row) for row in rows]


def get_tenant(db: Database, id_or_slug: str) -> Tenant:
    """The tenant with that id or slug. Raises: NotFound."""
    query = select(TenantRow).where(or_(TenantRow.id == id_or_slug, TenantRow.slug == id_or_slug))
    with db.read() as session:
        row = session.scalars(query.order_by(TenantRow.id != id_or_slug)).first()
    if row is None:
        raise NotFound(f"No such tenant: {id_or_slug}", param="tenant_id")
    return Tenant.of(row)
