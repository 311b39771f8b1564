"""A finished seat publishes a plain PEFT folder that stock PEFT can load."""

import hashlib
import json
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.builders.driving import drain, outcome_of
from tests.builders.reference_loss import loss_of
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from tests.builders.tiny_base import CHATML_WITH_GENERATION
from workers.contract.base import BaseSpec
from workers.contract.reports import AdapterManifest, Outcome
from workers.contract.spec import JobSpec
from workers.host import TrainingHost

pytestmark = pytest.mark.usefixtures("each_stepper")


def finished(folder: Path, base: BaseSpec, *, rslora: bool = False) -> tuple[JobSpec, Outcome]:
    """A job with everything that shapes an adapter, and how it ended."""
    validation = make_dataset(folder / "validation.jsonl", sum_rows(5, start=50))
    spec = make_job_spec(folder, base, targets=("q_proj", "down_proj"), dropout=0.1, validation=validation)
    data = spec.data.model_copy(update={"chat_template_kwargs": {"enable_thinking": False}})
    spec = spec.model_copy(update={"method": spec.method.model_copy(update={"rslora": rslora}), "data": data})
    host = TrainingHost(make_host_spec(folder, base))
    host.attach(make_order(spec))
    return spec, outcome_of(drain(host), spec.job_id)


@pytest.mark.parametrize("rslora", [False, True])
def test_stock_peft_loads_it_and_gives_the_seats_own_eval_loss(
    tmp_path: Path, tiny_base: BaseSpec, rslora: bool
) -> None:
    spec, outcome = finished(tmp_path, tiny_base, rslora=rslora)
    assert outcome.adapter is not None
    folder = Path(outcome.adapter.uri.removeprefix("file://"))
    base = AutoModelForCausalLM.from_pretrained(tiny_base.location)
    assert loss_of(base, spec) == pytest.approx(outcome.eval_loss_before, rel=1e-5)
    tuned = PeftModel.from_pretrained(base, folder / "peft")
    assert loss_of(tuned, spec) == pytest.approx(outcome.eval_loss_after, rel=1e-5)
    assert outcome.eval_loss_after < outcome.eval_loss_before


def test_the_folder_is_laid_out_for_the_registry_and_every_file_is_digested(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    override = tiny_base.model_copy(update={"chat_template": CHATML_WITH_GENERATION})
    manifest = finished(tmp_path, override)[1].adapter
    assert manifest is not None
    folder = Path(manifest.uri.removeprefix("file://"))
    assert manifest.uri.endswith("/jobs/ftjob-1/a1/adapter")
    for file in manifest.files:
        assert hashlib.sha256((folder / file.path).read_bytes()).hexdigest() == file.sha256
    listed = {file.path for file in manifest.files}
    assert {"peft/adapter_config.json", "peft/adapter_model.safetensors", "peft/README.md"} <= listed
    assert AdapterManifest.model_validate_json((folder / "manifest.json").read_bytes()) == manifest
    config = json.loads((folder / "peft" / "adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"] == tiny_base.location
    assert sorted(config["target_modules"]) == ["down_proj", "q_proj"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "components" / "tokenizer")
    assert tokenizer.chat_template == CHATML_WITH_GENERATION
    assert manifest.chat_template_kwargs == {"enable_thinking": False}
    assert """**{'enable_thinking': False}""" in (folder / "peft" / "README.md").read_text()
    assert manifest.chat_template_sha256 == hashlib.sha256(CHATML_WITH_GENERATION.encode()).hexdigest()
