"""Places in storage that a row has condemned: what lies below them, and whether they are what the row means."""

from posixpath import basename

import fsspec

from orchestrator.files.storage import storage_errors


def children(uri: str) -> list[str]:
    """Names directly below the prefix, hidden ones too; empty when there is no such place. Raises: StorageDown."""
    with storage_errors():
        filesystem, path = fsspec.url_to_fs(uri)
        filesystem.invalidate_cache()  # a listing from an earlier pass would hide what was written since
        try:
            found = filesystem.ls(path, detail=False)
        except FileNotFoundError:
            return []
    names = (basename(str(entry).rstrip("/")) for entry in found)
    return sorted(name for name in names if name and name != basename(path.rstrip("/")))


def belongs_to(uri: str, job_id: str) -> bool:
    """Whether `uri` lies below the prefix of the job: what a damaged row points at is not deleted."""
    _, found, rest = uri.partition(f"/{job_id}/")
    return bool(found) and bool(rest.strip("/")) and ".." not in uri.split("/")
