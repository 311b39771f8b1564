"""The dry run answers with what a submission would become, and makes nothing."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api.app import create_app
from orchestrator.db.encoding_tables import EncodingState
from orchestrator.db.job_tables import JobRow
from orchestrator.encodings.keys import encoding_key
from tests.builders.live_api import Api, make_catalogue
from tests.builders.rows import make_encoding
from tests.builders.scripted_encoder import encoded_ref
from workers.contract.lanes import Lane
from workers.contract.spec import JobSpec

ROWS = b'{"prompt": "q", "completion": "a"}\n' * 12


@pytest.fixture
def body(web: TestClient) -> dict[str, Any]:
    file = web.post("/v1/files", files={"file": ("t.jsonl", ROWS)}, data={"purpose": "fine-tune"}).json()
    return {"model": "tiny", "training_file": file["id"]}


def test_the_estimate_is_what_the_job_then_gets(web: TestClient, body: dict[str, Any]) -> None:
    asked = body | {"x_orchard": {"method": {"rank": 4}, "quantization": "nf4"}, "hyperparameters": {"n_epochs": 2}}

    estimate = web.post("/v1/x/estimate", json=asked).json()
    assert web.get("/v1/fine_tuning/jobs").json()["data"] == []
    job = web.post("/v1/fine_tuning/jobs", json=asked).json()

    assert estimate["fits"] is True
    assert estimate["flavors"] == [{"flavor": "cpu", "memory_bytes": 4_000_000_000, "fits": True}]
    assert estimate["memory"]["total_bytes"] == sum(
        estimate["memory"][part] for part in ("base_bytes", "seat_bytes", "pass_bytes", "process_bytes")
    )
    assert estimate["total_steps"] == job["x_orchard"]["total_steps"] == 6
    assert estimate["memory"]["seat_bytes"] == job["x_orchard"]["memory_bytes"]
    assert estimate["hyperparameters"] == job["hyperparameters"]
    assert estimate["x_orchard"].items() <= job["x_orchard"].items()


def test_the_memory_shown_is_that_of_the_flavor_it_is_held_against(api: Api, body: dict[str, Any]) -> None:
    turns = api.services.catalogue.flavors[0].model_copy(update={"stepper": Lane.SOLO})
    catalogue = make_catalogue(flavors=(turns,))
    with TestClient(create_app(replace(api.services, catalogue=catalogue)), headers=api.headers) as web:
        total = web.post("/v1/x/estimate", json=body).json()["memory"]["total_bytes"]
    exact, short = (turns.model_copy(update={"memory_bytes": total - less}) for less in (0, 1))
    catalogue = make_catalogue(flavors=(short, exact.model_copy(update={"name": "exact"})))
    with TestClient(create_app(replace(api.services, catalogue=catalogue)), headers=api.headers) as web:
        estimate = web.post("/v1/x/estimate", json=body).json()
    assert [flavor["fits"] for flavor in estimate["flavors"]] == [False, True]


@pytest.mark.parametrize(
    ("places", "epochs"),
    [
        ({"hyperparameters": {"n_epochs": 7}}, 7),
        ({"hyperparameters": {"n_epochs": 7}, "method": {"type": "supervised"}}, 7),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 7}}}}, 7),
        ({"hyperparameters": {"n_epochs": "auto"}}, 3),
        ({"method": None, "hyperparameters": None, "suffix": None, "seed": None, "validation_file": None}, 3),
    ],
)
def test_hyperparameters_are_read_from_either_place(
    web: TestClient, body: dict[str, Any], places: dict[str, Any], epochs: int
) -> None:
    assert web.post("/v1/x/estimate", json=body | places).json()["hyperparameters"]["n_epochs"] == epochs


def test_an_absolute_learning_rate_is_shown_as_a_multiplier(web: TestClient, body: dict[str, Any]) -> None:
    shown = web.post("/v1/x/estimate", json=body | {"x_orchard": {"training": {"learning_rate": 6e-4}}}).json()
    assert (shown["x_orchard"]["training"]["learning_rate"], shown["hyperparameters"]["learning_rate_multiplier"]) == (
        6e-4,
        3.0,
    )


def test_an_estimate_counts_tokens_once_the_same_data_was_encoded(
    web: TestClient, api: Api, body: dict[str, Any]
) -> None:
    assert web.post("/v1/x/estimate", json=body).json()["encoded"] is None
    job_id = web.post("/v1/fine_tuning/jobs", json=body).json()["id"]
    with api.services.db.read() as session:
        row = session.scalars(select(JobRow).where(JobRow.id == job_id)).one()
    spec = JobSpec.model_validate(row.spec)
    key = encoding_key(spec, spec.data.training)
    ref = encoded_ref(spec.data.training, "file:///nowhere", key)
    make_encoding(api.services.db, row, key, ref.uri, EncodingState.DONE, encoded=ref.model_dump(mode="json"))
    encoded = web.post("/v1/x/estimate", json=body).json()["encoded"]
    assert (encoded["training"]["rows"], encoded["training"]["tokens"], encoded["validation"]) == (12, 96, None)
