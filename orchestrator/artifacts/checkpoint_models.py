"""Checkpoints as models: looked up by name, visible to their owner and to tenants the owner granted access."""

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Select, exists, select
from sqlalchemy.orm import Session

from orchestrator.db.job_tables import CheckpointRow, JobRow
from orchestrator.db.tables import CheckpointPermissionRow, TenantRow
from orchestrator.errors import NotFound
from orchestrator.lifecycle.model_names import fine_tuned_model_name

_NAME: Final = re.compile(
    r"(?P<tuned>ft:(?P<base>.+):(?P<slug>[^:]+):(?P<suffix>[^:]*):[^:]+):ckpt-step-(?P<step>\d{1,9})"
)


@dataclass(frozen=True)
class CheckpointModel:
    """A complete checkpoint in storage, with its job and tenant."""

    name: str
    row: CheckpointRow
    job: JobRow
    owner: TenantRow


def find_checkpoint(session: Session, name: str, *who: ColumnElement[bool]) -> CheckpointModel:
    """The checkpoint named `name`, if `who` holds: see `managed_by` and `visible_to`.

    A name contains only a digest of the job id, so the candidates are the owner's jobs with that base and suffix.
    Raises: NotFound.
    """
    parsed = _NAME.fullmatch(name)
    if parsed is None:
        raise no_such_model(name)
    base, slug, suffix = parsed["base"], parsed["slug"], parsed["suffix"] or None
    mine = JobRow.suffix.is_(None) if suffix is None else JobRow.suffix == suffix
    jobs = select(JobRow.id).join(TenantRow).where(TenantRow.slug == slug, JobRow.base_id == base, mine)
    ids = [job for job in session.scalars(jobs) if fine_tuned_model_name(base, slug, suffix, job) == parsed["tuned"]]
    wanted = (CheckpointRow.job_id.in_(ids), CheckpointRow.step == int(parsed["step"]), *_whole(), *who)
    found = session.execute(_checkpoints().where(*wanted).order_by(CheckpointRow.seq.desc())).first()
    if found is None:
        raise no_such_model(name)
    return CheckpointModel(name, *found)


def shared_checkpoints(session: Session, tenant_id: str) -> list[CheckpointModel]:
    """Checkpoints that other tenants share with this one, newest first."""
    query = _checkpoints().where(*_whole(), _granted_to(tenant_id)).order_by(CheckpointRow.seq.desc())
    return [CheckpointModel(checkpoint_name(*found), *found) for found in session.execute(query)]


def checkpoint_name(row: CheckpointRow, job: JobRow, owner: TenantRow) -> str:
    """The checkpoint's model name. It depends only on the job, so it is known before the job succeeds."""
    return f"{fine_tuned_model_name(job.base_id, owner.slug, job.suffix, job.id)}:ckpt-step-{row.step}"


def visible_to(tenant_id: str) -> ColumnElement[bool]:
    """The tenant owns the checkpoint or has a permission that was not revoked."""
    return managed_by(tenant_id) | _granted_to(tenant_id)


def managed_by(tenant_id: str) -> ColumnElement[bool]:
    """The tenant owns the checkpoint."""
    return CheckpointRow.tenant_id == tenant_id


def no_such_model(name: str) -> NotFound:
    """OpenAI's message for a model that does not exist or is not accessible."""
    return NotFound(
        f"The model '{name}' does not exist or you do not have access to it.", param="model", code="model_not_found"
    )


def _granted_to(tenant_id: str) -> ColumnElement[bool]:
    return exists().where(
        CheckpointPermissionRow.checkpoint_id == CheckpointRow.id,
        CheckpointPermissionRow.project_id == tenant_id,
        CheckpointPermissionRow.revoked_at.is_(None),
    )


def _whole() -> tuple[ColumnElement[bool], ...]:
    return (CheckpointRow.state == "committed",)


def _checkpoints() -> Select[CheckpointRow, JobRow, TenantRow]:
    return (
        select(CheckpointRow, JobRow, TenantRow)
        .join(JobRow, JobRow.id == CheckpointRow.job_id)
        .join(TenantRow, TenantRow.id == CheckpointRow.tenant_id)
    )
