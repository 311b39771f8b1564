"""The unmodified `openai` client for a running server, and helpers for common calls."""

import json

from openai import OpenAI

from orchestrator.db.tables import TenantRow
from tests.builders.live_api import Api
from tests.builders.specs import sum_rows

ROWS = "".join(json.dumps(row) + "\n" for row in sum_rows(12)).encode()


def stock_client(api: Api, key: str | None = None, **options: object) -> OpenAI:
    """A client with the tenant's key or another. The caller closes it."""
    return OpenAI(api_key=key or api.key, base_url=f"{api.url}/v1", **options)


def upload(client: OpenAI, content: bytes = ROWS, name: str = "train.jsonl") -> str:
    """Upload a file of valid rows by default and return its id."""
    return client.files.create(file=(name, content), purpose="fine-tune").id


def tenant_row(api: Api) -> TenantRow:
    """The row of the tenant, for the builders of rows."""
    with api.services.db.read() as session:
        return session.get_one(TenantRow, api.tenant.id)
