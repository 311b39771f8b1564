"""The two names of an adapter: in MLflow's registry, and as a `model` of the OpenAI API."""

import base64
import hashlib
import re

MAX_NAME_CHARS = 128
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def registered_name(suffix: str | None, base_id: str) -> str:
    """The registered model that a job's adapter becomes a version of, for example `support-bot-gemma-3-270m`.

    Letters, digits, `.`, `_` and `-` only: MLflow refuses `/` and `:`, and the name is part of URLs.
    """
    parts = [_slug(part) for part in (suffix, base_id) if part]
    name = "-".join(parts)
    if len(name) <= MAX_NAME_CHARS:
        return name
    return f"{name[: MAX_NAME_CHARS - 9]}-{_digest(name)}"  # cut names must stay different


def fine_tuned_model_name(base_id: str, tenant_slug: str, suffix: str | None, job_id: str) -> str:
    """OpenAI's shape `ft:{base}:{organization}:{suffix}:{id}`; the id is 40 bits of the job id's digest."""
    return f"ft:{base_id}:{tenant_slug}:{suffix or ''}:{_digest(job_id)}"


def _slug(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-.") or _digest(text)


def _digest(text: str) -> str:
    """Eight lower-case letters and digits, a digest of `text`."""
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:5]).decode().lower()
