"""Identifiers that the service issues: a descriptive prefix and 96 random bits."""

import secrets


def new_id(prefix: str) -> str:
    """Return `<prefix><24 hex digits>`, for example `ftjob-6f0c…`."""
    return f"{prefix}{secrets.token_hex(12)}"


def new_lease_token() -> str:
    """Return a fencing token for one attempt."""
    return secrets.token_hex(16)
