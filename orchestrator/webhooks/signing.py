"""Signatures of the Standard Webhooks scheme (standardwebhooks.com), as OpenAI's clients verify them."""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # what secrets begin with
SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A new secret in the form that tenants use: `whsec_<base64>`."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(delivery_id: str, body: bytes, keys: Sequence[str], now: datetime) -> dict[str, str]:
    """The headers of one try, with one signature per secret, so that a receiver may use either during rotation."""
    at = now.astimezone(UTC)  # the library treats any other zone as UTC
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(key).sign(delivery_id, at, body.decode()) for key in keys),
    }
