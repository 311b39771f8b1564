"""Bringing an adapter from storage, trusting nothing but the manifest's digests."""

import hashlib
import posixpath
from pathlib import Path, PurePosixPath
from typing import Any, Final

from orchestrator.registry.errors import AdapterRefused
from workers.contract.errors import StorageUnavailable
from workers.contract.reports import AdapterManifest, FileDigest

CHUNK_BYTES: Final = 1 << 20
WEIGHTS_FILE: Final = "peft/adapter_model.safetensors"
_CODE_SUFFIXES: Final = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".py"})
"""Files that run code when they are loaded."""


def fetch_verified(manifest: AdapterManifest, into: Path) -> None:
    """Download every file of the manifest below `into` and check its size and sha256.

    `manifest.uri` is an fsspec URI of a folder (`file://`, `s3://`, …). Files that the manifest does not name are left
    where they are. Raises: AdapterRefused when the manifest or a file is not acceptable, StorageUnavailable when
    storage cannot be read now. On an error `into` may hold verified files, never an unverified one.
    """
    import fsspec

    _check_manifest(manifest)
    try:
        filesystem, root = fsspec.core.url_to_fs(manifest.uri)
        for file in manifest.files:
            _fetch(filesystem, root, file, into)
    except FileNotFoundError as error:
        raise AdapterRefused(f"The adapter lacks a file that its manifest names: {error}.") from error
    except AdapterRefused:
        raise
    except Exception as error:  # every storage back end brings its own exception types
        raise StorageUnavailable(f"The adapter at {manifest.uri} could not be read: {type(error).__name__}") from error


def _check_manifest(manifest: AdapterManifest) -> None:
    seen: dict[str, str] = {}
    for file in manifest.files:
        _check_path(file.path)
        if file.path in seen:
            raise AdapterRefused(f"The manifest names {file.path!r} twice.")
        seen[file.path] = file.sha256
    if seen.get(WEIGHTS_FILE) != manifest.adapter_sha256:
        raise AdapterRefused(f"The manifest's adapter_sha256 is not the digest of its {WEIGHTS_FILE}.")


def _check_path(path: str) -> None:
    pure = PurePosixPath(path)
    escapes = pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path
    if escapes or path != str(pure) or path == ".":
        raise AdapterRefused(f"The manifest names {path!r}; only plain relative paths below its folder are accepted.")
    if pure.suffix.lower() in _CODE_SUFFIXES:
        raise AdapterRefused(f"The manifest names {path!r}; weights must be safetensors, and code is not published.")


def _fetch(filesystem: Any, root: str, file: FileDigest, into: Path) -> None:
    source = posixpath.join(root, file.path)
    _refuse_links(filesystem, root, source, file.path)
    target = into / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    digest, size = hashlib.sha256(), 0
    try:
        with filesystem.open(source, "rb") as stream, partial.open("xb") as sink:
            while size <= file.bytes and (chunk := stream.read(CHUNK_BYTES)):
                digest.update(chunk)
                size += len(chunk)
                sink.write(chunk)
        if size != file.bytes or digest.hexdigest() != file.sha256:
            raise AdapterRefused(
                f"{file.path} is not what the manifest describes: {file.bytes} bytes with sha256 {file.sha256} "
                f"expected, {'more' if size > file.bytes else size} bytes with sha256 {digest.hexdigest()} found."
            )
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def _refuse_links(filesystem: Any, root: str, source: str, path: str) -> None:
    """On a local disk, a link below the folder could point at any file of the control plane."""
    if "file" not in _protocols(filesystem):
        return
    if Path(source).resolve() != Path(root).resolve() / path:
        raise AdapterRefused(f"{path} is a symbolic link, or lies behind one; the adapter must hold plain files.")


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
