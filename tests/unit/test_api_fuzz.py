"""Whatever stands in a submission or a file, it is taken or refused. The rest of the API: test_schemathesis."""

import io
import json
from itertools import pairwise
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.files.validate import check_file
from orchestrator.submission.request import Hyperparameters, JobRequest, Options

quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
any_text = st.text(st.characters(), max_size=8)  # with lone surrogates, which JSON can spell
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), any_text, st.just("auto"))
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3)
)
rows = st.dictionaries(st.sampled_from(["messages", "prompt", "completion", "text", "\0"]), json_values, max_size=3)


def some_of(fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(fields)), json_values, max_size=3)


bodies = st.builds(
    lambda top, ours, hyper: {**top, "x_orchard": ours, "hyperparameters": hyper},
    some_of(JobRequest.model_fields),
    some_of(Options.model_fields),
    some_of(Hyperparameters.model_fields),
)


@pytest.fixture
def training_file(web: TestClient) -> str:
    content = b'{"text": "a row"}\n' * 12
    answer = web.post("/v1/files", files={"file": ("t.jsonl", content)}, data={"purpose": "fine-tune"})
    return answer.json()["id"]


@quickly
@given(body=bodies)
def test_any_submission_is_taken_or_refused(web: TestClient, training_file: str, body: dict[str, Any]) -> None:
    content = json.dumps({"model": "tiny", "training_file": training_file} | body).encode()
    answer = web.post("/v1/fine_tuning/jobs", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in {200, 400, 404}, answer.text


@quickly
@given(
    content=st.binary(max_size=200) | st.lists(rows, max_size=4).map(lambda r: "\n".join(map(json.dumps, r)).encode())
)
def test_any_bytes_are_a_file_with_a_verdict(web: TestClient, content: bytes) -> None:
    answer = web.post("/v1/files", files={"file": ("t.jsonl", content)}, data={"purpose": "fine-tune"})
    assert answer.status_code == 200, answer.text
    file = answer.json()
    assert (file["status"] == "error") == (file["x_orchard"]["issue_count"] > 0)
    assert (file["status"] == "processed") <= (file["x_orchard"]["rows"] > 0)


class InParts:
    """A stream that gives what it has in these parts."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def read(self, size: int, /) -> bytes:
        if not self._parts:
            return b""
        found, rest = self._parts[0][:size], self._parts[0][size:]
        self._parts[:1] = [rest] if rest else []
        return found


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_chunks_never_change_the_verdict(content: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(content)]
    parts = [content[start:end] for start, end in pairwise(edges) if content[start:end]]
    assert check_file(InParts(parts)) == check_file(io.BytesIO(content))
