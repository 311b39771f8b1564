"""The OpenAPI document: valid, and complete."""

from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from api.app import create_app
from orchestrator.db.database import Database
from tests.builders.live_api import make_catalogue
from workers.contract.methods import METHODS

PROBES = {"/healthz", "/readyz"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    from api.services import Services

    return create_app(Services(Database("sqlite://"), make_catalogue(), Path("/nowhere").as_uri())).openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, op) for path, item in document["paths"].items() for method, op in item.items()]


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_every_route_says_what_it_returns_and_how_it_fails(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["description"], where
        assert operation["responses"]["200"]["content"], where
        for media in operation["responses"]["200"]["content"].values():
            assert media["schema"], where
        assert "422" not in operation["responses"] or path == "/v1/fine_tuning/jobs", where
        if path not in PROBES:
            assert operation["security"] == [{"api_key": []}], where
            assert {"400", "401", "default"} <= operation["responses"].keys(), where


def test_errors_are_documented_in_openais_shape(document: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert set(document["components"]["schemas"]["ErrorDetail"]["properties"]) == {"message", "type", "param", "code"}


def test_our_extensions_are_described_field_by_field(document: dict[str, Any]) -> None:
    options = document["components"]["schemas"]["Options"]["properties"]
    methods = {method["properties"]["type"]["const"]: method for method in options["method"]["oneOf"]}
    assert methods.keys() == set(METHODS)
    assert methods["lora"]["properties"]["rank"]["maximum"] == 256
    assert [name for name, method in methods.items() if "type" not in method.get("required", ())] == ["lora"]
    assert {"task", "method", "lane", "quantization", "data", "training", "priority"} == options.keys() - {
        "max_runtime_s",
        "max_user_retries",
    }


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
