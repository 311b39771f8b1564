"""What a seat leaves behind: a plain PEFT folder that anyone can load."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.builders.driving import drain, outcome_of
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from tests.builders.tiny_base import CHATML_WITH_GENERATION
from workers.contract.base import BaseSpec
from workers.contract.reports import AdapterManifest
from workers.engine.engine import Engine
from workers.host import TrainingHost

PROMPT = torch.tensor([[3, 40, 41, 42, 4, 50]])


def finished(
    folder: Path, base: BaseSpec, monkeypatch: pytest.MonkeyPatch, *, rslora: bool = False
) -> tuple[AdapterManifest, torch.Tensor]:
    """A finished adapter and the logits its seat gave just before it was released."""
    seen: list[torch.Tensor] = []
    finish = Engine._finish

    def remember(self: Engine, attempt: object, seat: object) -> None:
        model = self._base.model.eval()
        with torch.no_grad():
            seen.append(model(input_ids=PROMPT).logits)
        finish(self, attempt, seat)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_finish", remember)
    spec = make_job_spec(folder, base, targets=("q_proj", "down_proj"), dropout=0.1)
    spec = spec.model_copy(update={"method": spec.method.model_copy(update={"rslora": rslora})})
    host = TrainingHost(make_host_spec(folder, base))
    host.attach(make_order(spec))
    outcome = outcome_of(drain(host), spec.job_id)
    assert outcome.adapter is not None
    return outcome.adapter, seen[0]


@pytest.mark.parametrize("rslora", [False, True])
def test_stock_peft_loads_it_and_gives_the_seats_logits(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch, rslora: bool
) -> None:
    manifest, expected = finished(tmp_path, tiny_base, monkeypatch, rslora=rslora)
    folder = Path(manifest.uri.removeprefix("file://"))
    base = AutoModelForCausalLM.from_pretrained(tiny_base.location)
    with torch.no_grad():
        before = base(input_ids=PROMPT).logits
        after = PeftModel.from_pretrained(base, folder / "peft")(input_ids=PROMPT).logits
    assert torch.equal(after, expected)
    assert not torch.allclose(after, before, atol=1e-2)


def test_the_folder_is_laid_out_for_the_registry_and_every_file_is_digested(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    override = tiny_base.model_copy(update={"chat_template": CHATML_WITH_GENERATION})
    manifest, _ = finished(tmp_path, override, monkeypatch)
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
    assert manifest.chat_template_sha256 == hashlib.sha256(CHATML_WITH_GENERATION.encode()).hexdigest()
