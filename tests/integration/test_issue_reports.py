"""The problems of a file as a report: in pages and as a download."""

import json

import pytest
from fastapi.testclient import TestClient

BAD = b'{"text": "good"}\nno json\n' + b'{"text": 1}\n' * 3 + b'{"messages": [1, 2, 3]}\n'


def upload(web: TestClient, content: bytes = BAD) -> str:
    answer = web.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("t.jsonl", content)})
    return str(answer.json()["id"])


def test_every_problem_of_a_file_is_listed_in_pages_in_the_order_of_its_lines(web: TestClient) -> None:
    path, found, after = f"/v1/files/{upload(web)}/x/issues", [], None
    while True:
        answer = web.get(path, params={"limit": 2} | ({"after": after} if after else {}))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert (page["object"], page["total"]) == ("list", 5)
        assert len(page["data"]) <= 2
        found += page["data"]
        after = page["last_id"]
        if not page["has_more"]:
            break
    assert [(issue["id"], issue["line"], issue["field"], issue["code"]) for issue in found] == [
        ("1", 2, None, "invalid_json"),
        ("2", 3, "text", "string_type"),
        ("3", 4, "text", "string_type"),
        ("4", 5, "text", "string_type"),
        ("5", 6, None, "mixed_formats"),
    ]


def test_the_whole_report_can_be_downloaded_as_jsonl(web: TestClient) -> None:
    file_id = upload(web)
    answer = web.get(f"/v1/files/{file_id}/x/issues", params={"format": "jsonl"})
    assert answer.headers["content-type"].startswith("application/jsonl")
    assert answer.headers["content-disposition"] == f'attachment; filename="{file_id}.issues.jsonl"'
    listed = web.get(f"/v1/files/{file_id}/x/issues").json()["data"]
    assert [json.loads(line) for line in answer.text.splitlines()] == listed


def test_a_good_file_has_an_empty_report(web: TestClient) -> None:
    file_id = upload(web, b'{"text": "good"}')
    page = web.get(f"/v1/files/{file_id}/x/issues").json()
    assert (page["data"], page["total"], page["has_more"], page["last_id"]) == ([], 0, False, None)


@pytest.mark.parametrize("after", ["0", "6", "-1", "x", "²", "99999999999"])
def test_a_cursor_that_is_no_issue_is_refused_by_name(web: TestClient, after: str) -> None:
    answer = web.get(f"/v1/files/{upload(web)}/x/issues", params={"after": after})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")


def test_the_report_of_a_deleted_file_is_gone(web: TestClient) -> None:
    file_id = upload(web)
    web.delete(f"/v1/files/{file_id}")
    assert web.get(f"/v1/files/{file_id}/x/issues").status_code == 404
