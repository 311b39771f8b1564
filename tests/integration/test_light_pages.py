"""Lists stay small, whatever a tenant has stored and however much is asked at once."""

from collections.abc import Sequence

from fastapi.testclient import TestClient
from openai import OpenAI
from sqlalchemy import insert

from orchestrator.db.states import JobState
from orchestrator.db.tables import FileRow
from orchestrator.files.queries import MAX_PAGE
from orchestrator.issues.parts import Subject, write_issues
from orchestrator.submission.request import MAX_METADATA_PAIRS
from tests.builders.live_api import Api
from tests.builders.rows import NOW, make_job
from tests.builders.stock_client import tenant_row
from workers.contract.rows import RowIssue

JOBS = "/v1/fine_tuning/jobs"
ISSUES = [RowIssue(line=n, code="invalid_type", message="wrong " * 50) for n in range(1, 1_001)]


def add_files(api: Api, count: int, issues: Sequence[RowIssue] = ()) -> list[str]:
    """Ids of files of the tenant, oldest first."""
    fields = {"tenant_id": api.tenant.id, "purpose": "fine-tune", "bytes": 1, "sha256": "0" * 64, "uri": "file:///x"}
    fields |= {"status": "error" if issues else "processed", "created_at": NOW}
    fields |= {"issue_count": len(issues)}
    rows = [{"id": f"file-{n:06}", "filename": f"{n}.jsonl", **fields} for n in range(count)]
    with api.services.db.write() as session:
        session.execute(insert(FileRow), rows)
        for row in rows:
            file_id = str(row["id"])
            write_issues(session, Subject(file_id, api.tenant.id, file_id), issues)
    return [str(row["id"]) for row in rows]


def test_a_list_of_bad_files_is_light_and_each_file_has_its_issues(web: TestClient, api: Api) -> None:
    ids = add_files(api, 20, ISSUES)
    answer = web.get("/v1/files")
    assert [file["id"] for file in answer.json()["data"]] == ids[::-1]
    assert len(answer.content) < 20 * 1_000, "bytes; 20 files have 6 MB of issues"
    details = answer.json()["data"][0]["x_orchard"]
    assert (details["issue_count"], "issues" in details) == (1_000, False)

    assert len(web.get(f"/v1/files/{ids[0]}").json()["x_orchard"]["issues"]) == 100
    assert len(web.get(details["report"], params={"format": "jsonl"}).text.splitlines()) == 1_000


def test_the_stock_client_lists_every_file_though_a_page_is_bounded(served: Api, client: OpenAI) -> None:
    ids = add_files(served, 2 * MAX_PAGE + 1)
    first = client.files.list()
    assert (len(first.data), first.has_more) == (MAX_PAGE, True)
    assert [file.id for file in client.files.list(order="asc")] == ids
    assert [file.id for file in client.files.list(limit=10_000)] == ids[::-1]


def test_as_many_metadata_filters_as_a_job_has_pairs_and_no_more(web: TestClient, api: Api) -> None:
    pairs = {f"k{n}": "v" for n in range(MAX_METADATA_PAIRS)}
    job = make_job(api.services.db, JobState.QUEUED, tenant_row(api), labels=pairs)
    filters = {f"metadata[{key}]": value for key, value in pairs.items()}
    assert [found["id"] for found in web.get(JOBS, params=filters).json()["data"]] == [job.id]

    for many in (filters | {"metadata[k16]": "v"}, [("metadata[k]", "v")] * 3_000):
        answer = web.get(JOBS, params=many)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "metadata")
        assert answer.json()["error"]["message"].startswith("At most 16 metadata filters")
