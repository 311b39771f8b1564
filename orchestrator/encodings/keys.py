"""What an encoding depends on, as a key and as an order. Pure."""

import hashlib
import json
from collections.abc import Iterator, Mapping

from orchestrator.storage.layout import tenant_uri
from workers.contract.encoded import EncodedRef
from workers.contract.encoding import ENCODER_VERSION, EncodeLimits, EncodeOrder
from workers.contract.spec import DatasetRef, DataSpec, JobSpec

OF_FILE = {"file_id", "uri", "encoded"}
"""Fields of a file that say nothing of its content."""


def files_of(spec: JobSpec) -> Iterator[tuple[str, DatasetRef]]:
    """The role and the file of each of the job's data sets."""
    yield "training", spec.data.training
    if spec.data.validation is not None:
        yield "validation", spec.data.validation


def with_encoded(spec: JobSpec, encoded: Mapping[str, EncodedRef]) -> JobSpec:
    """The spec whose files, by role, are encoded as `encoded` says."""
    files = dict(files_of(spec))
    changed = {role: files[role].model_copy(update={"encoded": ref}) for role, ref in encoded.items()}
    return spec.model_copy(update={"data": spec.data.model_copy(update=changed)})


def encoding_key(spec: JobSpec, dataset: DatasetRef) -> str:
    """The hex digest of everything that the encoded rows of `dataset` depend on, and of the tenant."""
    base = spec.base
    parts = {
        "version": ENCODER_VERSION,
        "tenant": spec.tenant_id,
        "file": dataset.model_dump(mode="json", exclude=OF_FILE),
        "base": [base.source, base.revision, base.weight_digest, base.chat_template, base.shape.vocab_size],
        "task": spec.task.model_dump(mode="json"),
        "options": spec.data.options.model_dump(mode="json", exclude=_unread_options(base.chat_template)),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _unread_options(chat_template: str | None) -> set[str]:
    """The day of a job counts only where the template prints it; else tomorrow's job has the same rows."""
    return set() if chat_template is not None and "strftime_now" in chat_template else {"created_on"}


def encoded_uri(storage_uri: str, tenant_id: str, key: str) -> str:
    """The folder of the encoded rows: below their tenant's prefix."""
    return tenant_uri(storage_uri, tenant_id, "encoded", key)


def order_of(
    spec: JobSpec, dataset: DatasetRef, key: str, attempt: int, uri: str, cache_dir: str, limits: EncodeLimits
) -> EncodeOrder:
    """What an encoder is told."""
    data = DataSpec(training=dataset.model_copy(update={"encoded": None}), **dict(spec.data.options))
    return EncodeOrder(
        key=key,
        attempt=attempt,
        base=spec.base,
        task=spec.task,
        data=data,
        uri=uri,
        cache_dir=cache_dir,
        limits=limits,
    )
