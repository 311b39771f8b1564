"""Submissions that cannot be: the answer is 400 or 404, names the field, the value and the bound, and makes nothing."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.builders.live_api import Api, make_api, make_catalogue
from tests.builders.specs import sum_rows

JOBS = "/v1/fine_tuning/jobs"
ROWS = "".join(json.dumps(row) + "\n" for row in sum_rows(12)).encode()
ONE_ENGINE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # these never reach the database
HYPER = "method.supervised.hyperparameters"
METHOD, DATA, TRAINING = "x_orchard.method", "x_orchard.data", "x_orchard.training"


def upload(web: TestClient, content: bytes = ROWS, name: str = "train.jsonl") -> str:
    return web.post("/v1/files", files={"file": (name, content)}, data={"purpose": "fine-tune"}).json()["id"]


def hyper(**values: Any) -> dict[str, Any]:
    return {"method": {"type": "supervised", "supervised": {"hyperparameters": values}}}


def ours(**sections: Any) -> dict[str, Any]:
    return {"x_orchard": sections}


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"model": "gpt-9"}, "model", ("gpt-9 is not available", "Available: tiny, org/tiny-2.")),
        ({"model": "secret"}, "model", ("secret is not available", "Available: tiny, org/tiny-2.")),
        (ours(method={"rank": 0}), f"{METHOD}.rank", ("greater than or equal to 1", "got 0")),
        (ours(method={"rank": 257}), f"{METHOD}.rank", ("less than or equal to 256", "got 257")),
        (
            ours(training={"learning_rate": 5}),
            f"{TRAINING}.learning_rate",
            ("less than or equal to 0.1", "got 5"),
        ),
        (ours(training={"learning_rate": 0}), f"{TRAINING}.learning_rate", ("greater than 0",)),
        (hyper(learning_rate_multiplier=1000), f"{HYPER}.learning_rate_multiplier", ("1000", "0.1", "500")),
        (hyper(n_epochs=51), f"{HYPER}.n_epochs", ("less than or equal to 50", "got 51")),
        (hyper(n_epochs="many"), f"{HYPER}.n_epochs", ("valid integer", "'many'")),
        (hyper(n_epochs=True), f"{HYPER}.n_epochs", ("valid integer", "got True")),
        (hyper(batch_size="4"), f"{HYPER}.batch_size", ("valid integer", "'4'")),
        (ours(method={"rank": True}), f"{METHOD}.rank", ("valid integer",)),
        (ours(method={"dropout": "0.5"}), f"{METHOD}.dropout", ("valid number",)),
        (ours(method={"rslora": "yes"}), f"{METHOD}.rslora", ("valid boolean",)),
        ({"seed": False}, "seed", ("valid integer",)),
        (hyper(batch_size=0), f"{HYPER}.batch_size", ("greater than or equal to 1",)),
        (
            hyper(batch_size=6) | ours(training={"micro_batch_size": 4}),
            f"{TRAINING}.micro_batch_size",
            ("(6)", "(4)"),
        ),
        (
            hyper(learning_rate_multiplier=2) | ours(training={"learning_rate": 0.01}),
            f"{TRAINING}.learning_rate",
            ("not both",),
        ),
        ({"x_orchard": {"quantization": "int8"}}, "x_orchard.quantization", ("'int8'", "Allowed: none, nf4.")),
        ({"x_orchard": {"quantization": "q2"}}, "x_orchard.quantization", ("'nf4', 'int8' or 'none'",)),
        (ours(data={"max_seq_len": 257}), f"{DATA}.max_seq_len", ("257", "at most 256 tokens")),
        (
            ours(method={"target_modules": ["lm_head"]}),
            f"{METHOD}.target_modules",
            ("'lm_head'", "q_proj, v_proj"),
        ),
        (
            ours(method={"target_modules": ["q_proj", "q_proj"]}),
            f"{METHOD}.target_modules",
            ("twice",),
        ),
        ({"x_orchard": {"rnak": 4}}, "x_orchard.rnak", ("Unrecognized request argument",)),
        ({"x_orchard": {"priority": 101}}, "x_orchard.priority", ("100", "got 101")),
        (ours(method={"dropout": 1}), f"{METHOD}.dropout", ("less than 1",)),
        ({"x_orchard": {"method": "lora"}}, "x_orchard.method", ("an object", '{"type": "lora"}')),
        (ours(method={"type": "dora"}), "x_orchard.method", ("'dora'", "there are: c3a")),
        ({"x_orchard": {"task": {"type": "chess"}}}, "x_orchard.task", ("'chess'", "there are: causal_lm")),
        ({"x_orchard": {"lane": "fast"}}, "x_orchard.lane", ("'fused' or 'solo'",)),
        ({"x_orchard": {"rank": 4}}, "x_orchard", ("rank has moved: write x_orchard.method.rank",)),
        ({"x_orchard": {"learning_rate": 0.1}}, "x_orchard", ("write x_orchard.training.learning_rate",)),
        ({"x_orchard": {"max_seq_len": 64}}, "x_orchard", ("write x_orchard.data.max_seq_len",)),
        ({"method": {"type": "dpo"}}, "method.type", ("'supervised'", "'dpo'")),
        ({"suffix": "../../etc"}, "suffix", ("letters, digits", "'../../etc'")),
        ({"suffix": "a/b"}, "suffix", ("begin with a letter",)),
        ({"suffix": "a:b"}, "suffix", ("begin with a letter",)),
        ({"suffix": "a\n"}, "suffix", ("begin with a letter",)),
        ({"model": "x" * 256}, "model", ("at most 255 characters, not 256",)),
        ({"model": "\ud800"}, "model", ("U+D800",)),
        ({"training_file": "\ud800"}, "training_file", ("U+D800",)),
        ({"metadata": {"k": "\ud800"}}, "metadata.k", ("U+D800",)),
        ({"metadata": {"\ud800": "v"}}, "metadata.���.[key]", ("U+D800",)),
        (ours(method={"target_modules": ["\ud800"]}), f"{METHOD}.target_modules.0", ("unicode",)),
        ({"x_orchard": None}, "x_orchard", ("should be a JSON object",)),
        ({"suffix": "x" * 65}, "suffix", ("at most 64",)),
        ({"seed": 2**31}, "seed", ("2147483647",)),
        ({"metadata": {"k": 1}}, "metadata.k", ("valid string",)),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", ("at most 512",)),
        ({"metadata": {"k": "\0"}}, "metadata.k", ("U+0000",)),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", ("17 pairs", "at most 16")),
        ({"integrations": [{"type": "wandb"}]}, "integrations", ("not offered",)),
        ({"hyperparameters": {"n_epochs": 2}} | hyper(n_epochs=3), None, ("contradicts",)),
        ({"nonsense": 1}, "nonsense", ("Unrecognized request argument supplied: nonsense",)),
    ],
)
@ONE_ENGINE
def test_a_job_that_cannot_be_is_refused_with_its_reason(
    web: TestClient, changes: dict[str, Any], param: str | None, words: tuple[str, ...]
) -> None:
    body = json.dumps({"model": "tiny", "training_file": upload(web)} | changes)  # ASCII: "\ud800" stays as spelled
    answer = web.post(JOBS, content=body, headers={"content-type": "application/json"})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    for word in words:
        assert word in error["message"]
    assert web.get(JOBS).json()["data"] == []


def test_a_base_a_tenant_may_not_use_looks_like_none_at_all(web: TestClient) -> None:
    file = upload(web)
    refused = [web.post(JOBS, json={"model": m, "training_file": file}).json()["error"] for m in ("secret", "nosuch")]
    assert refused[0]["message"].replace("secret", "nosuch") == refused[1]["message"]
    assert web.get("/v1/models/secret").status_code == 404
    assert web.delete("/v1/models/secret").status_code == 404


def test_a_request_no_flavor_can_hold_is_refused_with_the_numbers(db: Any, tmp_path: Any) -> None:
    from api.app import create_app

    small = make_catalogue().flavors[0].model_copy(update={"memory_bytes": 1_210_000_000})
    api = make_api(db, tmp_path, catalogue=make_catalogue(flavors=(small,)))
    with TestClient(create_app(api.services), headers=api.headers) as web:
        body = {"model": "tiny", "training_file": upload(web), "x_orchard": {"method": {"rank": 256}}}
        error = web.post(JOBS, json=body).json()["error"]
        assert error["code"] == "does_not_fit"
        assert "GB of memory, but the largest flavor, cpu, offers 1.21 GB" in error["message"]
        estimate = web.post("/v1/x/estimate", json=body).json()
        assert estimate["fits"] is False
        assert estimate["memory"]["total_bytes"] > small.memory_bytes


@pytest.mark.parametrize("field", ["training_file", "validation_file"])
def test_files_of_others_and_broken_files_are_named(web: TestClient, field: str) -> None:
    good = upload(web)
    missing = web.post(JOBS, json={"model": "tiny", "training_file": good, field: "file-0"})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, field)

    broken = web.post(JOBS, json={"model": "tiny", "training_file": good, field: upload(web, b"{}\n")})
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, f"invalid_{field}")
    assert "Line 1" in broken.json()["error"]["message"]


def test_a_deleted_file_cannot_be_used_and_a_used_file_cannot_be_deleted(web: TestClient) -> None:
    file, gone = upload(web), upload(web)
    job = web.post(JOBS, json={"model": "tiny", "training_file": file}).json()["id"]

    refused = web.delete(f"/v1/files/{file}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "file_in_use")
    assert job in refused.json()["error"]["message"]
    assert web.delete(f"/v1/files/{gone}").status_code == 200
    assert web.post(JOBS, json={"model": "tiny", "training_file": gone}).status_code == 404


@pytest.mark.parametrize(
    ("name", "words"),
    [("../../etc/passwd", "path characters"), ("a\\b.jsonl", "path characters"), ("..", "path characters"),
     ("x" * 256, "at most 255")],
)  # fmt: skip
def test_a_file_name_with_path_or_control_characters_is_refused(web: TestClient, name: str, words: str) -> None:
    answer = web.post("/v1/files", files={"file": (name, ROWS)}, data={"purpose": "fine-tune"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "filename")
    assert words in answer.json()["error"]["message"]


def test_a_file_name_with_control_characters_is_refused(web: TestClient) -> None:
    part = b'--b\r\ncontent-disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    body = part % (b"purpose", b"", b"fine-tune") + part % (b"file", b'; filename="a\tb"', ROWS) + b"--b--\r\n"
    answer = web.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "filename")
    assert "U+0009" in answer.json()["error"]["message"]


@pytest.mark.parametrize("charset", ["undefined", "punycode"])
@pytest.mark.parametrize("path", ["/v1/files", "/v1/uploads/upload_x/parts"])
def test_a_form_that_cannot_be_read_in_the_charset_it_names_is_a_400(web: TestClient, charset: str, path: str) -> None:
    body = b'--b\r\ncontent-disposition: form-data; name="a.b"\r\n\r\nfine-tune\r\n--b--\r\n'
    answer = web.post(
        path, content=body, headers={"content-type": f"multipart/form-data; boundary=b; charset={charset}"}
    )
    assert answer.status_code == 400
    assert "charset" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"purpose": "batch"}, "purpose", "'fine-tune'"),
        ({}, "purpose", "Missing required parameter"),
        ({"purpose": "fine-tune", "expires_after[anchor]": "created_at"}, "expires_after.seconds", "Missing"),
        (
            {"purpose": "fine-tune", "expires_after[anchor]": "created_at", "expires_after[seconds]": "5"},
            "expires_after.seconds",
            "greater than or equal to 3600",
        ),
    ],
)
def test_an_upload_with_bad_fields_is_refused(
    web: TestClient, api: Api, fields: dict[str, str], param: str, words: str
) -> None:
    answer = web.post("/v1/files", files={"file": ("a.jsonl", ROWS)}, data=fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert words in answer.json()["error"]["message"]
    assert web.get("/v1/files").json()["data"] == []


@ONE_ENGINE
def test_an_empty_part_id_names_the_part(web: TestClient) -> None:
    new = {"bytes": 9, "filename": "a.jsonl", "mime_type": "text/plain", "purpose": "fine-tune"}
    upload = web.post("/v1/uploads", json=new).json()["id"]
    answer = web.post(f"/v1/uploads/{upload}/complete", json={"part_ids": ["", "part_x"]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "part_ids.0")
