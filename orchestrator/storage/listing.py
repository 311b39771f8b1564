"""Listing a prefix of storage."""

from datetime import datetime
from posixpath import basename

from orchestrator.storage.objects import filesystem_of, local_path, storage_errors


def children(uri: str) -> list[str]:
    """Names directly below the prefix, hidden ones too; empty if the prefix does not exist. Raises: StorageDown."""
    with storage_errors():
        filesystem, path = filesystem_of(uri)
        filesystem.invalidate_cache()  # a cached listing would hide files written since
        try:
            found = filesystem.ls(path, detail=False)
        except FileNotFoundError:
            return []
    names = (basename(str(entry).rstrip("/")) for entry in found)
    return sorted(name for name in names if name and name != basename(path.rstrip("/")))


def last_change(uri: str) -> datetime | None:
    """When anything at or below the prefix was last written, by storage's clock. None: nothing is there.

    Raises: StorageDown.
    """
    with storage_errors():
        filesystem, path = filesystem_of(uri)
        filesystem.invalidate_cache()
        paths = filesystem.find(path) or ([path] if local_path(uri) and filesystem.exists(path) else [])
        try:
            stamps: list[datetime] = [filesystem.modified(each) for each in paths]
        except FileNotFoundError:  # removed meanwhile
            return None
    return max(stamps, default=None)
