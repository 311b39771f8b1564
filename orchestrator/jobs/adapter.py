"""The finished adapter of a job as one tar stream: the PEFT folder and the tokenizer, as they lie in storage."""

from orchestrator.db.database import Database
from orchestrator.db.job_tables import JobRow
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.jobs.archive import AdapterArchive, StoredEntry, archive
from orchestrator.jobs.queries import own_job
from orchestrator.jobs.states import Desired, JobState, openai_status
from workers.contract.reports import AdapterManifest


def open_adapter(db: Database, tenant_id: str, job_id: str) -> AdapterArchive:
    """Raises: NotFound; InvalidRequest while the job has not succeeded; StorageDown."""
    with db.read() as session:
        job = own_job(session, tenant_id, job_id)
    state = JobState(job.state)
    if state is not JobState.SUCCEEDED or job.adapter is None:
        raise InvalidRequest(
            f"Job {job_id} is {openai_status(state, Desired(job.desired))}; it has an adapter once it has succeeded.",
            param="fine_tune_id",
            code="adapter_not_ready",
        )
    if job.model_deleted_at is not None:
        raise NotFound(f"The model of job {job_id} was deleted.", param="fine_tune_id", code="model_not_found")
    return adapter_archive(job)


def adapter_archive(job: JobRow) -> AdapterArchive:
    """The tar of a job that has succeeded. Raises: StorageDown."""
    manifest = AdapterManifest.model_validate(job.adapter)
    root = manifest.uri.rstrip("/")
    entries = [StoredEntry(file.path, f"{root}/{file.path}", file.bytes) for file in manifest.files]
    return archive(job.id, entries, job.finished_at)
