"""`target_modules: "all-linear"`, the default: every linear that the base offers, asked for in any way."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from api.cli.main import app
from orchestrator.db.database import Database
from tests.builders.driving import drain, outcome_of
from tests.builders.live_api import Api, live_api, make_catalogue
from tests.builders.specs import make_host_spec, make_job_spec, make_order, sum_rows
from tests.builders.tiny_base import make_tiny_base
from workers.contract.base import DECODER_LINEARS
from workers.host import TrainingHost

pytestmark = pytest.mark.slow

OFFERED = ("q_proj", "v_proj", "down_proj")
JOB_FILE = "apiVersion: orchard/v1\nkind: FineTuneJob\nmodel: tiny\ntraining_file: train.jsonl\n"


@pytest.fixture
def api(sqlite_db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API whose bases offer three linears."""
    catalogue = make_catalogue()
    bases = tuple(base.model_copy(update={"target_modules": OFFERED}) for base in catalogue.bases)
    with live_api(sqlite_db, tmp_path, catalogue=catalogue.model_copy(update={"bases": bases})) as running:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ORCHARD_CONFIG", str(tmp_path / "config.toml"))
        monkeypatch.setenv("ORCHARD_URL", running.url)
        monkeypatch.setenv("ORCHARD_API_KEY", running.key)
        (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sum_rows(12)))
        yield running


def post(api: Api, method: dict[str, Any] | None) -> httpx2.Response:
    """Submit a job with `method` under `x_orchard`; None: without any."""
    with httpx2.Client(base_url=api.url, headers=api.headers) as client:
        content = {"file": ("train.jsonl", Path("train.jsonl").read_bytes())}
        file = client.post("/v1/files", data={"purpose": "fine-tune"}, files=content).json()
        body: dict[str, Any] = {"model": "tiny", "training_file": file["id"]}
        return client.post(
            "/v1/fine_tuning/jobs", json=body | ({} if method is None else {"x_orchard": {"method": method}})
        )


@pytest.mark.parametrize(
    "method",
    [
        None,
        {"type": "lora"},
        {"type": "lora", "target_modules": "all-linear"},
        {"type": "lora", "target_modules": ["all-linear"]},
        {"type": "lora", "target_modules": None},
    ],
)
def test_over_http_it_is_the_default_and_comes_back_as_the_linears_it_stands_for(
    api: Api, method: dict[str, Any] | None
) -> None:
    assert post(api, method).json()["x_orchard"]["method"]["target_modules"] == list(OFFERED)


@pytest.mark.parametrize("targets", ["all-linears", ["all-linear", "q_proj"], []])
def test_what_only_looks_like_it_is_refused_with_the_field(api: Api, targets: Any) -> None:
    refused = post(api, {"type": "lora", "target_modules": targets})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"].startswith("x_orchard.method.target_modules")


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("", []),
        ("method: {rank: 4}\n", []),
        ("method: {target_modules: all-linear}\n", []),
        ("method: {target_modules: [q_proj]}\n", ["--set", "method.target_modules=all-linear"]),
    ],
)
def test_from_a_job_file_or_a_flag_it_is_the_same(api: Api, tmp_path: Path, method: str, flags: list[str]) -> None:
    (tmp_path / "job.yaml").write_text(JOB_FILE + method)
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(app, ["submit", "job.yaml", *flags, *more, "-o", "json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["x_orchard"]["method"]["target_modules"] == list(OFFERED)


def test_the_exported_adapter_covers_the_linears_that_stock_peft_calls_all(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base")
    spec = make_job_spec(tmp_path, base, targets=DECODER_LINEARS)  # as the API resolves it
    host = TrainingHost(make_host_spec(tmp_path, base))
    host.attach(make_order(spec))
    outcome = outcome_of(drain(host), spec.job_id)
    assert outcome.adapter is not None
    folder = Path(outcome.adapter.uri.removeprefix("file://")) / "peft"

    model = AutoModelForCausalLM.from_pretrained(base.location)
    stock = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    named = {name.replace(".default.", ".") for name, _ in stock.named_parameters() if "lora_" in name}
    assert set(load_file(folder / "adapter_model.safetensors")) == named
    assert set(json.loads((folder / "adapter_config.json").read_text())["target_modules"]) == set(DECODER_LINEARS)

    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.location), folder)
    adapted = {name for name, module in loaded.named_modules() if hasattr(module, "lora_A") and module.lora_A}
    assert len(adapted) == len(DECODER_LINEARS) * base.shape.num_layers
