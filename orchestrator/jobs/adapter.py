"""The finished adapter of a job as one tar stream: the PEFT folder and the tokenizer, as they lie in storage."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import fsspec

from orchestrator.db.database import Database
from orchestrator.errors import InvalidRequest, NotFound
from orchestrator.files.storage import CHUNK_BYTES
from orchestrator.jobs.queries import own_job
from orchestrator.jobs.states import OPENAI_STATUS, JobState
from workers.contract.reports import AdapterManifest, FileDigest

_BLOCK = tarfile.BLOCKSIZE


class AdapterChanged(Exception):
    """A file in storage has not the size its manifest says; the stream is broken off rather than sent wrong."""


@dataclass(frozen=True)
class AdapterArchive:
    """A tar to be streamed; `size_bytes` is its exact length."""

    filename: str
    size_bytes: int
    chunks: Iterator[bytes]


def open_adapter(db: Database, tenant_id: str, job_id: str) -> AdapterArchive:
    """Raises: NotFound; InvalidRequest while the job has not succeeded."""
    with db.read() as session:
        job = own_job(session, tenant_id, job_id)
    state = JobState(job.state)
    if state is not JobState.SUCCEEDED or job.adapter is None:
        raise InvalidRequest(
            f"Job {job_id} is {OPENAI_STATUS[state]}; it has an adapter once it has succeeded.",
            param="fine_tune_id",
            code="adapter_not_ready",
        )
    if job.model_deleted_at is not None:
        raise NotFound(f"The model of job {job_id} was deleted.", param="fine_tune_id", code="model_not_found")
    manifest = AdapterManifest.model_validate(job.adapter)
    headers = [_header(job_id, file, job.finished_at) for file in manifest.files]
    size = sum(len(header) + _padded(file.bytes) for header, file in zip(headers, manifest.files, strict=True))
    return AdapterArchive(f"{job_id}.tar", size + 2 * _BLOCK, _stream(manifest, headers))


def _stream(manifest: AdapterManifest, headers: list[bytes]) -> Iterator[bytes]:
    for header, file in zip(headers, manifest.files, strict=True):
        yield header
        yield from _content(f"{manifest.uri.rstrip('/')}/{file.path}", file)
        yield b"\0" * (_padded(file.bytes) - file.bytes)
    yield b"\0" * (2 * _BLOCK)


def _content(uri: str, file: FileDigest) -> Iterator[bytes]:
    left = file.bytes
    with fsspec.open(uri, "rb") as source:
        while chunk := source.read(min(CHUNK_BYTES, left + 1)):
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    if left:
        raise AdapterChanged(f"{file.path} has not the {file.bytes} bytes its manifest says")


def _header(folder: str, file: FileDigest, finished_at: datetime | None) -> bytes:
    info = tarfile.TarInfo(f"{folder}/{file.path}")
    info.size = file.bytes
    info.mtime = 0 if finished_at is None else int(finished_at.timestamp())
    info.mode = 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
