"""Fetches an adapter from storage and trusts only the manifest's digests."""

import hashlib
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Final

from orchestrator.errors import StorageMissing
from orchestrator.registry.errors import AdapterRefused
from orchestrator.storage.objects import local_path, open_chunks
from workers.contract.reports import AdapterManifest, FileDigest

WEIGHTS_FILE: Final = "peft/adapter_model.safetensors"
_CODE_SUFFIXES: Final = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".py"})
"""Files that run code when they are loaded."""


def fetch_verified(manifest: AdapterManifest, into: Path) -> None:
    """Download every file of the manifest below `into` and check its size and sha256.

    `manifest.uri` is an fsspec URI of a folder (`file://`, `s3://`, …). Files that the manifest does not name are
    ignored. Raises: AdapterRefused when the manifest or a file is invalid, StorageDown when storage cannot be read.
    On an error `into` may hold verified files, never an unverified one.
    """
    _check_manifest(manifest)
    root = manifest.uri.rstrip("/")
    try:
        for file in manifest.files:
            _fetch(root, file, into)
    except StorageMissing as error:
        raise AdapterRefused("The adapter lacks a file that its manifest names.") from error


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


def _fetch(root: str, file: FileDigest, into: Path) -> None:
    source = f"{root}/{file.path}"
    _refuse_links(root, source, file.path)
    target = into / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    digest, size = hashlib.sha256(), 0
    try:
        with closing(open_chunks(source)) as chunks, partial.open("xb") as sink:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                if size > file.bytes:
                    break
                sink.write(chunk)
        if size != file.bytes or digest.hexdigest() != file.sha256:
            raise AdapterRefused(
                f"{file.path} is not what the manifest describes: {file.bytes} bytes with sha256 {file.sha256} "
                f"expected, {'more' if size > file.bytes else size} bytes with sha256 {digest.hexdigest()} found."
            )
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)


def _refuse_links(root: str, source: str, path: str) -> None:
    """On a local disk, a link in the folder could point at any file of the control plane."""
    folder, file = local_path(root), local_path(source)
    if folder is None or file is None:
        return
    if Path(file).resolve() != Path(folder).resolve() / path:
        raise AdapterRefused(f"{path} is a symbolic link or below one; the adapter must contain only plain files.")
