"""Calls of `/v1/webhook_endpoints`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from api.cli.lookup import one_named

if TYPE_CHECKING:
    from api.cli.client import Body, OrchardClient

PATH = "/v1/webhook_endpoints"
EVENT_PREFIX = "fine_tuning.job."
ID_PREFIX = "we_"


@dataclass(frozen=True)
class WebhookCalls:
    """One method per call; every one raises CliError."""

    client: "OrchardClient"

    def endpoints(self) -> "list[Body]":
        """The tenant's endpoints, newest first."""
        return list(self.client.pages(PATH, limit=10_000))

    def named(self, endpoint: str) -> str:
        """The id of an endpoint by its id, its name, or the beginning of it."""
        if endpoint.startswith(ID_PREFIX):
            return endpoint
        pairs = ((str(each["id"]), str(each.get("name") or "")) for each in self.endpoints())
        return one_named(pairs, endpoint, "endpoint", "orchard webhooks list")

    def create(self, name: str, url: str, events: Iterable[str]) -> "Body":
        """A new endpoint, with its secret."""
        body = {"name": name, "url": url, "event_types": [EVENT_PREFIX + event for event in events]}
        return self.client.send("POST", PATH, json=body)

    def update(self, endpoint_id: str, changes: dict[str, Any]) -> "Body":
        """An endpoint with some fields changed."""
        return self.client.send("POST", _of(endpoint_id), json=changes)

    def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint."""
        self.client.send("DELETE", _of(endpoint_id))

    def rotate(self, endpoint_id: str, *, keep_old: bool) -> "Body":
        """An endpoint with a new secret."""
        body = {"keep_old_secret_active_for_24_hours": keep_old}
        return self.client.send("POST", _of(endpoint_id, "rotate_secret"), json=body)

    def test(self, endpoint_id: str, event: str) -> "Body":
        """The endpoint's response to a sample."""
        return self.client.send("POST", _of(endpoint_id, "test"), json={"event_type": EVENT_PREFIX + event})

    def deliveries(self, endpoint_id: str, limit: int) -> "list[Body]":
        """The endpoint's deliveries, newest first."""
        return list(self.client.pages(_of(endpoint_id, "deliveries"), limit))


def _of(endpoint_id: str, *rest: str) -> str:
    return "/".join((PATH, quote(endpoint_id, safe=""), *rest))
