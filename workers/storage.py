"""Files by URI through fsspec (`file://`, `s3://`, …): streamed reads, atomic folder publishing, digests.

A worker may access only paths below the prefixes of its `JobSpec`. `child` builds every path and refuses parts that
could escape the prefix. A failure of a back end or of the local disk raises `StorageUnavailable`; a missing file raises
its subclass `StorageMissing`. Nothing here lists a folder: a manifest names its files.
"""

import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

import fsspec
from safetensors import SafetensorError

from workers.contract.errors import StorageMissing, StorageUnavailable
from workers.contract.failpoints import failpoint
from workers.contract.owned_folder import SCRATCH, owned_folder
from workers.contract.reports import FileDigest

_CHUNK_BYTES: Final = 1 << 20
_S3_OPTIONS: Final = {"config_kwargs": {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 2}}}
"""Short timeouts, in seconds: the caller decides whether and when to retry."""


class UnsafePath(ValueError):
    """A path would escape its prefix."""


def child(prefix: str, *parts: str) -> str:
    """`prefix/part/…`. Raises UnsafePath for a part that is empty, absolute, dotted or contains a separator."""
    for part in parts:
        if part in {"", ".", ".."} or "\\" in part or "\0" in part or PurePosixPath(part).name != part:
            raise UnsafePath(f"{part!r} is not a plain file name")
    return "/".join((prefix.rstrip("/"), *parts))


def read_bytes(uri: str) -> bytes:
    """All bytes behind `uri`. Raises StorageUnavailable."""
    with _translated(uri), _opened(uri) as stream:
        data: bytes = stream.read()
        return data


def fetch_file(uri: str, target: Path) -> None:
    """Copy `uri` to the local path `target`. Raises StorageUnavailable."""
    with _translated(uri), _opened(uri) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, _CHUNK_BYTES)


def publish_folder(folder: Path, uri: str, last: str | None = None) -> None:
    """Publish the local `folder` at `uri` atomically.

    Local file systems: copy to a hidden sibling, fsync, rename; an existing folder at `uri` is replaced. Others: one
    PUT per file, `last` (the manifest, which proves the other files) after all others. Raises StorageUnavailable.
    """
    with _translated(uri):
        filesystem, path = fsspec.url_to_fs(uri, **_options(uri))
        if "file" in _protocols(filesystem):
            _publish_local(folder, Path(path))
            return
        files = sorted(relative_files(folder), key=lambda name: (name == last, name))
        for name in files:
            if name == last:
                failpoint("storage.before_last")
            filesystem.put_file(str(folder / name), f"{path.rstrip('/')}/{name}")
            failpoint("storage.file")


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """A local folder that exists for the block. Raises StorageUnavailable when this machine's disk fails.

    What a killed process leaves, `remove_abandoned(SCRATCH)` removes.
    """
    try:
        with owned_folder(f"{SCRATCH}{purpose}-") as folder:
            yield folder
    except (OSError, SafetensorError) as error:
        raise StorageUnavailable(f"the host's scratch disk could not be used: {_reason(error)}") from error


def relative_files(folder: Path) -> list[str]:
    """Every file below `folder`, as sorted POSIX paths relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def file_sha256(path: Path) -> str:
    """Hex sha256 of a local file, read in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_folder(folder: Path) -> tuple[FileDigest, ...]:
    """Size and sha256 of every file below `folder`."""
    return tuple(
        FileDigest(path=name, bytes=(folder / name).stat().st_size, sha256=file_sha256(folder / name))
        for name in relative_files(folder)
    )


def rename_folder(source: Path, target: Path) -> None:
    """Fsync all of `source`, then rename it to `target`, replacing an older folder."""
    for path in (*source.rglob("*"), source):
        _fsync(path)
    if target.exists():
        grave = target.with_name(f".{target.name}.old-{uuid.uuid4().hex}")
        target.rename(grave)
        source.rename(target)
        shutil.rmtree(grave)
    else:
        source.rename(target)
    _fsync(target.parent)


def _publish_local(folder: Path, target: Path) -> None:
    _make_folders(target.parent)
    staging = target.with_name(f".{target.name}.tmp-{uuid.uuid4().hex}")
    try:
        shutil.copytree(folder, staging, copy_function=_copy)
        failpoint("storage.before_last")
        rename_folder(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _copy(source: str, target: str) -> str:
    shutil.copy2(source, target)
    failpoint("storage.file", Path(target))
    return target


def _make_folders(folder: Path) -> None:
    """`mkdir -p` that survives a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opened(uri: str) -> Any:
    return fsspec.open(uri, "rb", **_options(uri))


def _options(uri: str) -> dict[str, Any]:
    return dict(_S3_OPTIONS) if uri.startswith(("s3://", "s3a://")) else {}


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StorageMissing(f"{uri} does not exist") from error
    except Exception as error:  # every back end has its own exception types
        raise StorageUnavailable(f"{uri} could not be read or written: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The kind of failure. Back ends' messages may contain addresses, so they appear only in the traceback."""
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    return "no space is left" if full or "No space left" in str(error) else type(error).__name__
