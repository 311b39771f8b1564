"""Another tenant, who asks small things at a steady pace while the others make their load."""

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

from tests.bench.control.load import at_rate
from tests.bench.control.percentiles import milliseconds

RATE: Final = 20.0
"""Requests a second."""


def ask(url: str, key: str, job_id: str, seconds: float) -> dict[str, Any]:
    """Latencies of `whoami`, of a job and of the list of jobs, and how many were not answered by 200."""
    target = urlsplit(url)
    requests = [_get(path, key) for path in ("/v1/x/whoami", f"/v1/fine_tuning/jobs/{job_id}", "/v1/fine_tuning/jobs")]
    answers = asyncio.run(at_rate(target.hostname or "", target.port or 0, requests, RATE, seconds))
    refused = sum(count for status, count in answers.statuses.items() if status != 200)
    return milliseconds(answers.seconds) | {"errors": refused}


def _get(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: orchard\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
