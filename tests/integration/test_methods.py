"""Which methods a submission may ask for, on which base."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from orchestrator.db.database import Database
from tests.builders.live_api import make_api, make_catalogue
from tests.builders.stock_client import ROWS
from workers.contract.base import BaseShape


def submitted(db: Database, folder: Path, shape: dict[str, Any], **options: Any) -> tuple[int, dict[str, Any]]:
    """The answer to a job with these options, on a base whose shape is changed so."""
    catalogue, api = make_catalogue(), make_api(db, folder)
    base = catalogue.bases[0]
    changed = base.spec.model_copy(update={"shape": BaseShape(**(base.spec.shape.model_dump() | shape))})
    bases = (base.model_copy(update={"spec": changed}), *catalogue.bases[1:])
    services = replace(api.services, catalogue=catalogue.model_copy(update={"bases": bases}))
    with TestClient(create_app(services), headers=api.headers) as web:
        file = web.post("/v1/files", files={"file": ("a.jsonl", ROWS)}, data={"purpose": "fine-tune"}).json()["id"]
        body = {"model": "tiny", "training_file": file, "x_orchard": options}
        answer = web.post("/v1/fine_tuning/jobs", json=body)
    return answer.status_code, answer.json()


def test_virtual_tokens_need_positions_and_the_refusal_says_how_many_are_left(db: Database, tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": {"type": "prompt_tuning", "n_tokens": 20}, "data": {"max_seq_len": 256}}
    status, refused = submitted(db, tmp_path, {"max_positions": 270}, **options)
    assert status == 400
    assert (
        "20 virtual tokens of method 'prompt_tuning' leave room for rows of 250 tokens" in refused["error"]["message"]
    )


def test_a_job_whose_virtual_tokens_fit_goes_to_the_solo_lane(db: Database, tmp_path: Path) -> None:
    options: dict[str, Any] = {"method": {"type": "prompt_tuning", "n_tokens": 20}, "data": {"max_seq_len": 250}}
    status, job = submitted(db, tmp_path, {"max_positions": 270}, **options)
    assert (status, job["x_orchard"]["lane"]) == (200, "solo"), job


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"method": {"type": "loha"}, "quantization": "nf4"},
            "packed codes of nf4. It does on: int8, none",
        ),
        ({"method": {"type": "hra", "rank": 3}}, "it has to be even"),
        ({"method": {"type": "gralora", "rank": 7}}, "rank (7) must be a multiple of blocks (2)"),
        ({"method": {"type": "miss", "rank": 256}}, "rank is 256, more than the"),
        ({"method": {"type": "oft", "block_size": 48}}, "block_size is 48, which does not divide"),
        ({"method": {"type": "lora", "dora": True}, "lane": "fused"}, "option 'dora' of method 'lora' cannot train in"),
        ({"method": {"type": "adalora"}}, "there is no method of type 'adalora'; there are: c3a, "),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(
    db: Database, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    status, refused = submitted(db, tmp_path, {}, **options)
    assert status == 400, refused
    assert told in refused["error"]["message"]
