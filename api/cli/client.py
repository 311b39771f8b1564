"""A thin client of the HTTP API: one method per call, responses as models, failures as `CliError`."""

import json
import random
import uuid
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ValidationError

from api.cli.errors import AWAY, CliError, ExitCode, StreamIdle, no_orchard, refusal, unreachable
from api.cli.models import Event, IssuedKey, Job, Key, Model, Page, Tenant
from workers.contract.backoff import Backoff
from workers.contract.preview import PreviewView

AnswerT = TypeVar("AnswerT", bound=BaseModel)
Body = dict[str, Any]
RETRIED = frozenset({408, 429, 502, 503, 504})
TRIES = 4  # of a call that is harmless to repeat
BACKOFF = Backoff(first_s=0.2, longest_s=5.0)
PAGE = 100


class OrchardClient:
    """A client of one server with one key. The constructor and every method raise CliError."""

    def __init__(self, url: str, key: str | None, transport: httpx2.BaseTransport | None = None) -> None:
        if key and not (key.isascii() and key.isprintable()):  # not valid in a header
            raise CliError(
                "the key contains a line break or an invalid character",
                code="invalid_api_key",
                hint="copy it again, then orchard login or set ORCHARD_API_KEY",
                exit_code=ExitCode.AUTH,
            )
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url = url
        self.has_answered = False
        """Whether the server has responded, so that a later failure is an outage and not a wrong address."""
        timeout = httpx2.Timeout(60, connect=5)
        hooks = {"response": [self._note_answer]}
        self._http = httpx2.Client(
            base_url=url, headers=headers, timeout=timeout, transport=transport, event_hooks=hooks
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def create_job(self, body: Body, idempotency_key: str | None = None) -> Job:
        """Create a job. The same `idempotency_key` twice is one job, so the call is retried when the network fails."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self.fetch(Job, "POST", "/v1/fine_tuning/jobs", json=body, headers=headers)

    def estimate(self, body: Body) -> Body:
        """Dry run of `body`: resolved numbers, steps and memory. Nothing is created."""
        return self.send("POST", "/v1/x/estimate", json=body)

    def preview(self, body: Body) -> PreviewView:
        """The rows of `body`'s files as tokens."""
        return self.fetch(PreviewView, "POST", "/v1/fine_tuning/x/preview", json=body)

    def job(self, job_id: str) -> Job:
        """One job."""
        return self.fetch(Job, "GET", f"/v1/fine_tuning/jobs/{_part(job_id)}")

    def jobs(self, limit: int) -> list[Job]:
        """The newest jobs, newest first."""
        return self.fetch_all(Job, "/v1/fine_tuning/jobs", limit)

    def cancel(self, job_id: str) -> Job:
        """Ask for a job to stop."""
        return self.fetch(Job, "POST", f"/v1/fine_tuning/jobs/{_part(job_id)}/cancel")

    def pause(self, job_id: str) -> Job:
        """Ask a job to give its seat up after its step, with a checkpoint."""
        return self.fetch(Job, "POST", f"/v1/fine_tuning/jobs/{_part(job_id)}/pause")

    def resume(self, job_id: str) -> Job:
        """Ask a paused job to continue."""
        return self.fetch(Job, "POST", f"/v1/fine_tuning/jobs/{_part(job_id)}/resume")

    def why(self, job_id: str) -> Body:
        """What blocks a job."""
        return self.send("GET", f"/v1/fine_tuning/jobs/{_part(job_id)}/why")

    def events(self, job_id: str, limit: int) -> list[Event]:
        """The newest events of a job, newest first."""
        path = f"/v1/fine_tuning/jobs/{_part(job_id)}/events"
        return self.fetch_all(Event, path, limit)

    def stream_events(self, job_id: str, after: str | None = None) -> Generator[Event]:
        """Every event, or those behind the event id `after`, oldest first, and new ones, until the job is over.

        Raises StreamIdle when the server ends a stream without news, and ServerAway when it breaks off or is silent for
        too long: the server pings.
        """
        path = f"/v1/fine_tuning/jobs/{_part(job_id)}/events"
        headers = {"Last-Event-ID": after} if after else {}
        with self._network(), self._http.sse(path, params={"stream": "true"}, headers=headers) as source:
            _answered(source.response)
            for message in source:
                if message.event == "end":
                    return
                if message.data:
                    yield self._checked(Event, self._object(message.data))
                elif message.retry is not None:
                    raise StreamIdle("the event stream had no news", code="stream_idle")
            raise unreachable(self.url, ConnectionError("the event stream ended early"))

    def models(self) -> list[Model]:
        """Bases and the tenant's adapters."""
        return self.fetch_all(Model, "/v1/models", limit=10_000)

    def adapter(self, job_id: str) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of a job's adapter, a tar archive."""
        return self.download(f"/v1/fine_tuning/jobs/{_part(job_id)}/adapter")

    def model_adapter(self, model: str) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of the adapter behind a tuned model or a checkpoint, a tar archive."""
        return self.download(f"/v1/x/models/{_part(model)}/adapter")

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[bytes]]:
        """The bytes behind `path`, as they arrive."""
        with self._network(), self._http.stream("GET", path, timeout=httpx2.Timeout(60, read=300)) as response:
            yield _answered(response).iter_bytes()

    def whoami(self) -> Body:
        """The key's principal."""
        return self.send("GET", "/v1/x/whoami")

    def is_ready(self) -> bool:
        """Whether the server is ready: its `/readyz`."""
        with self._network():
            response = self._http.get("/readyz")
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return False
        self._object(_answered(response).content)
        return True

    def tenants(self) -> list[Tenant]:
        """All tenants (operator)."""
        return self.fetch_all(Tenant, "/v1/admin/tenants", limit=10_000)

    def create_tenant(
        self, slug: str, name: str, allowed_bases: list[str] | None = None, weight: int | None = None
    ) -> Tenant:
        """A new tenant (operator). None: all bases, the server's default weight."""
        given = {"allowed_bases": allowed_bases, "weight": weight}
        body: Body = {"slug": slug, "name": name} | {key: value for key, value in given.items() if value is not None}
        return self.fetch(Tenant, "POST", "/v1/admin/tenants", json=body)

    def update_tenant(self, tenant: str, weight: int) -> Tenant:
        """Change a tenant (operator)."""
        return self.fetch(Tenant, "POST", f"/v1/admin/tenants/{_part(tenant)}", json={"weight": weight})

    def suspend_tenant(self, tenant: str, reason: str | None) -> Tenant:
        """Suspend a tenant (operator)."""
        return self.fetch(Tenant, "POST", f"/v1/admin/tenants/{_part(tenant)}/suspend", json={"reason": reason})

    def resume_tenant(self, tenant: str) -> Tenant:
        """End a suspension (operator)."""
        return self.fetch(Tenant, "POST", f"/v1/admin/tenants/{_part(tenant)}/resume")

    def admin_keys(self) -> list[Key]:
        """The admin keys, without their secrets (operator)."""
        return self.fetch_all(Key, "/v1/admin/keys", 10_000)

    def revoke_admin_key(self, key_id: str) -> None:
        """Revoke an admin key (operator)."""
        self.send("DELETE", f"/v1/admin/keys/{_part(key_id)}")

    def keys(self, tenant: str) -> list[Key]:
        """The keys of a tenant, without their secrets (operator)."""
        return self.fetch_all(Key, f"/v1/admin/tenants/{_part(tenant)}/keys", 10_000)

    def create_key(self, tenant: str, name: str) -> IssuedKey:
        """A new key of a tenant; only this response contains its secret (operator)."""
        path = f"/v1/admin/tenants/{_part(tenant)}/keys"
        return self.fetch(IssuedKey, "POST", path, json={"name": name})

    def revoke_key(self, tenant: str, key_id: str) -> None:
        """Revoke a key (operator)."""
        self.send("DELETE", f"/v1/admin/tenants/{_part(tenant)}/keys/{_part(key_id)}")

    def hosts(self) -> list[Body]:
        """Hosts and what they hold (operator)."""
        return list(self.pages("/v1/admin/hosts", limit=10_000))

    def pages(self, path: str, limit: int) -> Iterator[Body]:
        """The items of a list, page by page, up to `limit`."""
        after: str | None = None
        left = limit
        while left > 0:
            params = {"limit": min(left, PAGE)} | ({"after": after} if after else {})
            page = self.fetch(Page, "GET", path, params=params)
            items = page.data[:left]
            yield from items
            left -= len(items)
            if not items or not page.has_more:
                return
            after = str(items[-1].get("id"))

    def send(self, method: str, path: str, *, repeatable: bool = False, **arguments: Any) -> Body:
        """One call, repeated while the network fails if that is harmless. Returns the JSON object of the answer."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt

        repeatable = repeatable or method == "GET" or "Idempotency-Key" in arguments.get("headers", {})
        with self._network():
            for attempt in Retrying(
                retry=retry_if_exception(_is_transient),
                stop=stop_after_attempt(TRIES if repeatable else 1),
                wait=lambda state: BACKOFF.pause_s(state.attempt_number, random.random()),  # noqa: S311  # no secret
                reraise=True,
            ):
                with attempt:
                    response = self._http.request(method, path, **arguments)
                    if response.status_code in RETRIED and response.headers.get("x-should-retry") != "false":
                        response.raise_for_status()
        return self._object(_answered(response).content or b"{}")

    def fetch(self, kind: type[AnswerT], method: str, path: str, **arguments: Any) -> AnswerT:
        """`send`, and its answer as a `kind`."""
        return self._checked(kind, self.send(method, path, **arguments))

    def fetch_all(self, kind: type[AnswerT], path: str, limit: int) -> list[AnswerT]:
        """`pages`, and each item as a `kind`."""
        return [self._checked(kind, item) for item in self.pages(path, limit)]

    def _checked(self, kind: type[AnswerT], content: Body) -> AnswerT:
        try:
            return kind.model_validate(content)
        except ValidationError as error:
            raise no_orchard(self.url, f"JSON of another shape ({_first(error)})") from error

    def _object(self, text: bytes | str) -> Body:
        try:
            content = json.loads(text)
        except ValueError as error:  # also raised for bytes that are not UTF-8
            raise no_orchard(self.url, "no JSON") from error
        if not isinstance(content, dict):
            raise no_orchard(self.url, "JSON of another shape")
        return content

    def _note_answer(self, response: httpx2.Response) -> None:
        self.has_answered |= response.status_code not in AWAY

    @contextmanager
    def _network(self) -> Iterator[None]:
        try:
            yield
        except httpx2.HTTPStatusError as error:
            raise refusal(error.response) from error
        except httpx2.SSEError as error:
            raise no_orchard(self.url, "no stream of events") from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise unreachable(self.url, error) from error


def _is_transient(error: BaseException) -> bool:
    wrong_address = isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError)
    return isinstance(error, httpx2.TransportError | httpx2.HTTPStatusError) and not wrong_address


def _answered(response: httpx2.Response) -> httpx2.Response:
    """The response, if it succeeded. Raises CliError for an error or a redirect."""
    if response.is_success:
        return response
    response.read()
    if response.is_error:
        raise refusal(response)
    target = response.headers.get("location", "nowhere")
    raise no_orchard(str(response.request.url), f"{response.status_code} and points to {target}")


def _first(error: ValidationError) -> str:
    detail = error.errors()[0]
    field = ".".join(str(part) for part in detail["loc"])
    return f"{field}: {detail['msg']}" if field else detail["msg"]


def _part(text: str) -> str:
    return quote(text, safe="")
