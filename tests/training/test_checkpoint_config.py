"""A downloaded checkpoint has the same PEFT config as the trained adapter."""

import json
from pathlib import Path

import pytest
from peft import LoraConfig

from tests.builders.specs import make_base_spec, make_job_spec
from workers.contract.methods import Lora
from workers.methods.lora import LoraMethod


@pytest.mark.parametrize("decoder", [None, "model.language_model"])
@pytest.mark.parametrize("method", [Lora(), Lora(rank=3, alpha=4.5, dropout=0.1, rslora=True)])
def test_peft_reads_the_same_config_from_a_checkpoint_and_from_an_adapter(
    tmp_path: Path, method: Lora, decoder: str | None
) -> None:
    base = make_base_spec()
    base = base.model_copy(update={"shape": base.shape.model_copy(update={"decoder": decoder})})
    spec = make_job_spec(tmp_path, base).model_copy(update={"method": method})
    (tmp_path / "adapter_config.json").write_text(json.dumps(spec.method.stock_config(spec.base)))

    read, trained = (
        LoraConfig.from_pretrained(tmp_path).to_dict(),
        LoraMethod().config(method, decoder, base.shape.linear_names),
    )
    trained.inference_mode, trained.base_model_name_or_path = True, spec.base.location
    trained.revision = spec.base.revision
    assert read == trained.to_dict()
