"""Where things lie in storage: the prefix of a tenant, a file, a job."""


def tenant_uri(storage_uri: str, tenant_id: str, *parts: str) -> str:
    """A place below the prefix of a tenant. Ids are ours, so the path cannot climb."""
    return "/".join((storage_uri.rstrip("/"), "tenants", tenant_id, *parts))


def file_uri(storage_uri: str, tenant_id: str, file_id: str) -> str:
    """Where the content of a tenant's file lies."""
    return tenant_uri(storage_uri, tenant_id, "files", file_id, "content")


def job_uri(storage_uri: str, tenant_id: str, job_id: str) -> str:
    """The prefix that belongs to one job."""
    return tenant_uri(storage_uri, tenant_id, "jobs", job_id)


def belongs_to(uri: str, job_id: str) -> bool:
    """Whether `uri` lies below the prefix of the job: what a damaged row points at is not deleted."""
    _, found, rest = uri.partition(f"/{job_id}/")
    return bool(found) and bool(rest.strip("/")) and ".." not in uri.split("/")
