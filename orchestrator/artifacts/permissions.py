"""Granting and revoking other tenants' access to a checkpoint. Both apply from the next request."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.artifacts.checkpoint_models import CheckpointModel, find_checkpoint, managed_by
from orchestrator.db.database import Database
from orchestrator.db.tables import CheckpointPermissionRow, TenantRow
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.files.views import DeletedView
from orchestrator.ids import new_id
from orchestrator.paging import Page, PageWindow, page
from orchestrator.tenancy.lock import lock_tenant
from orchestrator.text import SingleLine


class NewPermissions(BaseModel):
    """The tenants to grant access."""

    model_config = ConfigDict(extra="forbid")

    project_ids: list[Annotated[SingleLine, Field(min_length=1, max_length=64)]] = Field(
        min_length=1, max_length=100, description="ids of tenants"
    )


class PermissionView(BaseModel):
    """OpenAI's `checkpoint.permission`."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int = Field(description="Unix seconds")
    project_id: str = Field(description="id of the tenant that has access")

    @classmethod
    def of(cls, row: CheckpointPermissionRow) -> "PermissionView":
        """The view of a row."""
        return cls(id=row.id, created_at=int(row.created_at.timestamp()), project_id=row.project_id)


def grant(db: Database, owner_id: str | None, name: str, new: NewPermissions, now: datetime) -> list[PermissionView]:
    """Grant tenants access to the checkpoint `name`. A tenant that has or had access keeps its permission's id.

    `owner_id`: the requesting tenant, which must own the checkpoint; None: an operator.
    Raises: NotFound; InvalidRequest for a tenant that does not exist or is the owner.
    """
    projects = list(dict.fromkeys(new.project_ids))
    with db.write() as session:
        checkpoint = _managed(session, owner_id, name)
        lock_tenant(session, checkpoint.owner.id)  # concurrent grants must not insert two rows
        _check_projects(session, checkpoint, projects)
        held = select(CheckpointPermissionRow).where(CheckpointPermissionRow.checkpoint_id == checkpoint.row.id)
        rows = {row.project_id: row for row in session.scalars(held)}
        for project in projects:
            if project not in rows:
                rows[project] = _row(checkpoint, project, now)
                session.add(rows[project])
            elif rows[project].revoked_at is not None:
                rows[project].revoked_at, rows[project].created_at = None, now
    return [PermissionView.of(rows[project]) for project in projects]


def list_permissions(
    db: Database, owner_id: str | None, name: str, project_id: str | None, window: PageWindow
) -> Page[PermissionView]:
    """Who may use the checkpoint. Raises: NotFound; InvalidRequest for an unknown cursor."""
    with db.read() as session:
        checkpoint = _managed(session, owner_id, name)
        query = select(CheckpointPermissionRow).where(CheckpointPermissionRow.revoked_at.is_(None))
        if project_id is not None:
            query = query.where(CheckpointPermissionRow.project_id == project_id)
        ours = CheckpointPermissionRow.checkpoint_id == checkpoint.row.id
        found = page(session, query, CheckpointPermissionRow, ours, window)
    return found.map(lambda row: PermissionView.of(row[0]))


def revoke(db: Database, owner_id: str | None, name: str, permission_id: str, now: datetime) -> DeletedView:
    """Revoke a tenant's access. Raises: NotFound."""
    with db.write() as session:
        checkpoint = _managed(session, owner_id, name)
        ours = (
            CheckpointPermissionRow.id == permission_id,
            CheckpointPermissionRow.checkpoint_id == checkpoint.row.id,
            CheckpointPermissionRow.revoked_at.is_(None),
        )
        revoked = update(CheckpointPermissionRow).where(*ours).values(revoked_at=now)
        gone = session.execute(revoked.returning(CheckpointPermissionRow.id))
        if gone.first() is None:
            raise NotFound(f"No such permission: {permission_id}", param="permission_id")
    return DeletedView(id=permission_id, object="checkpoint.permission")


def _managed(session: Session, owner_id: str | None, name: str) -> CheckpointModel:
    return find_checkpoint(session, name, *(() if owner_id is None else (managed_by(owner_id),)))


def _check_projects(session: Session, checkpoint: CheckpointModel, projects: list[str]) -> None:
    known = set(session.scalars(select(TenantRow.id).where(TenantRow.id.in_(projects))))
    if unknown := next((project for project in projects if project not in known), None):
        raise InvalidRequest(f"There is no project '{unknown}'; name tenants by id.", param="project_ids")
    if checkpoint.owner.id in known:
        raise InvalidRequest(f"{checkpoint.owner.id} owns the checkpoint and needs no permission.", param="project_ids")


def _row(checkpoint: CheckpointModel, project_id: str, now: datetime) -> CheckpointPermissionRow:
    return CheckpointPermissionRow(
        id=new_id("cp_"),
        tenant_id=checkpoint.owner.id,
        checkpoint_id=checkpoint.row.id,
        project_id=project_id,
        created_at=now,
    )
