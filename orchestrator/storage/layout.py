"""The storage layout: the prefixes of tenants, files and jobs."""

import hashlib


def tenant_uri(storage_uri: str, tenant_id: str, *parts: str) -> str:
    """A URI below the tenant's prefix. The service generates the ids, so the path cannot escape."""
    return "/".join((storage_uri.rstrip("/"), "tenants", tenant_id, *parts))


def file_uri(storage_uri: str, tenant_id: str, file_id: str) -> str:
    """The URI of a tenant's file content."""
    return tenant_uri(storage_uri, tenant_id, "files", file_id, "content")


def result_file_id(job_id: str) -> str:
    """The id of a job's result file. It derives from the job's, so that writing it twice yields one file."""
    return "file-" + hashlib.sha256(job_id.encode()).hexdigest()[:24]


def job_uri(storage_uri: str, tenant_id: str, job_id: str) -> str:
    """The prefix of one job."""
    return tenant_uri(storage_uri, tenant_id, "jobs", job_id)


def belongs_to(uri: str, job_id: str) -> bool:
    """Whether `uri` is below the job's prefix. Guards against deleting what a damaged row points at."""
    _, found, rest = uri.partition(f"/{job_id}/")
    return bool(found) and bool(rest.strip("/")) and ".." not in uri.split("/")
