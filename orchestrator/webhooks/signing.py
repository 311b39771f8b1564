"""Signatures of the Standard Webhooks scheme, as OpenAI's clients verify them.

Six lines over `hmac`: the scheme's own package brings an HTTP client and four more dependencies for the same six, and
the client we are compatible with verifies by hand, too.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # what secrets begin with
SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A fresh secret, as tenants copy it: `whsec_<base64>`."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(delivery_id: str, body: bytes, keys: Sequence[str], now: datetime) -> dict[str, str]:
    """The headers of one try: one signature a secret, so that a receiver may hold either while they rotate."""
    timestamp = int(now.timestamp())
    content = b"%s.%d.%s" % (delivery_id.encode(), timestamp, body)
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, content) for key in keys),
    }


def _signature(key: str, content: bytes) -> str:
    raw = base64.b64decode(key.removeprefix(SECRET_PREFIX), validate=True)
    return "v1," + base64.b64encode(hmac.digest(raw, content, hashlib.sha256)).decode()
