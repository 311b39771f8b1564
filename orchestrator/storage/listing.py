"""Listing a prefix of storage."""

from posixpath import basename

from orchestrator.storage.objects import filesystem_of, storage_errors


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
