"""Adapters as a tar stream: a finished job's files as stored, a checkpoint's in the layout that PEFT loads."""

import hashlib
import json
from typing import Final

from pydantic import ValidationError

from orchestrator.artifacts.archive import AdapterArchive, MadeEntry, StoredEntry, archive
from orchestrator.artifacts.checkpoint_models import CheckpointModel
from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState, openai_status
from orchestrator.errors import InvalidRequest, NotFound, StorageDown
from orchestrator.lifecycle.ownership import own_job
from orchestrator.storage.objects import read_all
from workers.contract.reports import AdapterManifest, CheckpointManifest
from workers.contract.spec import JobSpec

_MANIFEST: Final = "manifest.json"
_WEIGHTS: Final = "adapter.safetensors"  # tensors under PEFT's names


def open_adapter(db: Database, tenant_id: str, job_id: str) -> AdapterArchive:
    """Raises: NotFound; InvalidRequest while the job has not succeeded; StorageDown."""
    with db.read() as session:
        job = own_job(session, tenant_id, job_id)
    state = JobState(job.state)
    if state is not JobState.SUCCEEDED or job.adapter is None:
        raise InvalidRequest(
            f"Job {job_id} is {openai_status(state, Desired(job.desired))}; it has an adapter only after it succeeds.",
            param="fine_tune_id",
            code="adapter_not_ready",
        )
    if job.model_deleted_at is not None:
        raise NotFound(f"The model of job {job_id} was deleted.", param="fine_tune_id", code="model_not_found")
    return adapter_archive(job)


def adapter_archive(job: JobRow) -> AdapterArchive:
    """The tar of a succeeded job. Raises: StorageDown."""
    manifest = AdapterManifest.model_validate(job.adapter)
    root = manifest.uri.rstrip("/")
    entries = [StoredEntry(file.path, f"{root}/{file.path}", file.bytes) for file in manifest.files]
    return archive(job.id, entries, job.finished_at)


def open_checkpoint_adapter(checkpoint: CheckpointModel) -> AdapterArchive:
    """Raises: StorageDown, also when the stored checkpoint differs from the recorded one."""
    root = checkpoint.row.uri.rstrip("/")
    content = read_all(f"{root}/{_MANIFEST}")
    if hashlib.sha256(content).hexdigest() != checkpoint.row.manifest_sha256:
        raise StorageDown(f"The checkpoint {checkpoint.name} is damaged in storage.", code="checkpoint_damaged")
    try:
        manifest = CheckpointManifest.model_validate_json(content)
        weights = next(file for file in manifest.files if file.path == _WEIGHTS)
    except (ValidationError, StopIteration):
        raise StorageDown(f"The checkpoint {checkpoint.name} cannot be read.", code="checkpoint_damaged") from None
    spec = JobSpec.model_validate(checkpoint.job.spec)
    config = json.dumps(spec.method.stock_config(spec.base), indent=2).encode()
    entries = (
        StoredEntry("peft/adapter_model.safetensors", f"{root}/{_WEIGHTS}", weights.bytes),
        MadeEntry("peft/adapter_config.json", config),
    )
    return archive(checkpoint.row.id, entries, checkpoint.row.created_at)
