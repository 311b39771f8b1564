"""Sends one request to a receiver: to a checked address, within a time limit, reading little of the response."""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import httpx2

from orchestrator.webhooks.addresses import EgressPolicy, ForbiddenUrl
from orchestrator.webhooks.lookups import SYSTEM_LOOKUPS, Lookups, Unresolved

TIMEOUT_S: Final = 10.0  # total: name resolution, connection, request and response
READ_BYTES: Final = 16_384  # of the response body, out of courtesy; only its status counts
CONNECT_S: Final = 3.0  # per address, so that a second one gets its turn
TRIED_ADDRESSES: Final = 3
USER_AGENT: Final = "Orchard-Webhooks/1"


@dataclass(frozen=True)
class DeliveryResponse:
    """The result of a request: a status code, or why there is none."""

    status: int | None
    error: str | None = None
    retry_after_s: float | None = None


@cache
def _trusted() -> ssl.SSLContext:
    """Trusted certificate authorities; SSL_CERT_FILE overrides them. Loaded once, because loading is slow."""
    return httpx2.create_ssl_context()


@dataclass(frozen=True)
class Sender:
    """Posts to receivers. It follows no redirects, uses no environment proxies and keeps no connections."""

    egress: EgressPolicy = field(default_factory=EgressPolicy)
    lookups: Lookups = SYSTEM_LOOKUPS
    tls: ssl.SSLContext = field(default_factory=_trusted)
    timeout_s: float = TIMEOUT_S

    async def post(self, tenant_id: str, url: str, body: bytes, headers: Mapping[str, str]) -> DeliveryResponse:
        """Send `body` to a URL of the tenant. Never raises for errors of a receiver, its name or the network."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._post(tenant_id, httpx2.URL(url), body, headers)
        except ForbiddenUrl as error:
            return DeliveryResponse(None, f"Not sent: {error}.")
        except Unresolved as error:
            return DeliveryResponse(None, str(error))
        except TimeoutError:
            return DeliveryResponse(None, f"No answer within {self.timeout_s:g} s.")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError, ValueError) as error:
            return DeliveryResponse(None, _in_words(error))

    async def _post(self, tenant_id: str, url: httpx2.URL, body: bytes, headers: Mapping[str, str]) -> DeliveryResponse:
        self.egress.check_url(str(url))
        port = url.port or (443 if url.scheme == "https" else 80)
        host = url.raw_host.decode("ascii")
        self.egress.check_host(host.strip("[]"))  # what is dialed, should the two readers of URLs ever differ
        addresses = self.egress.checked(await self.lookups.addresses(tenant_id, host, port))
        patience = httpx2.Timeout(self.timeout_s, connect=CONNECT_S)
        async with httpx2.AsyncClient(verify=self.tls, trust_env=False, timeout=patience) as client:
            *others, last = addresses[:TRIED_ADDRESSES]
            for address in others:
                try:
                    return await _request(client, url, address, body, headers)
                except (httpx2.ConnectError, httpx2.ConnectTimeout):
                    continue
            return await _request(client, url, last, body, headers)


async def _request(
    client: httpx2.AsyncClient, url: httpx2.URL, address: str, body: bytes, headers: Mapping[str, str]
) -> DeliveryResponse:
    """Send to one address; the name goes into `Host`, the TLS server name and the certificate check."""
    request = client.build_request(
        "POST",
        url.copy_with(host=address),
        content=body,
        headers={**headers, "host": url.netloc.decode(), "content-type": "application/json", "user-agent": USER_AGENT},
        extensions={"sni_hostname": url.raw_host.decode("ascii")},
    )
    response = await client.send(request, stream=True, follow_redirects=False)
    try:
        await _skim(response)
        return DeliveryResponse(response.status_code, retry_after_s=_retry_after(response))
    finally:
        await response.aclose()


async def _skim(response: httpx2.Response) -> None:
    """Read a response body up to `READ_BYTES`."""
    seen = 0
    async for chunk in response.aiter_raw():
        seen += len(chunk)
        if seen >= READ_BYTES:
            return


def _retry_after(response: httpx2.Response) -> float | None:
    value = response.headers.get("retry-after", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 8 else None


def _in_words(error: Exception) -> str:
    """Only the kind of error: its text may contain internal addresses."""
    match error:
        case httpx2.TimeoutException():
            return "The host did not answer in time."
        case httpx2.ConnectError() if "CERTIFICATE" in str(error).upper():
            return "The host's certificate was not accepted."
        case httpx2.ConnectError():
            return "The connection was refused."
        case httpx2.RemoteProtocolError() | httpx2.ReadError() | httpx2.WriteError():
            return "The connection closed before a response arrived."
    return f"The request failed ({type(error).__name__})."
