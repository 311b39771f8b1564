"""A model with a vision tower: only its decoder is adapted, and stock PEFT adapts the same linears."""

import re
from pathlib import Path

import pytest
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.builders.driving import drain, outcome_of
from tests.builders.odd_bases import make_odd_base
from tests.builders.reference_loss import loss_of
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from workers.contract.base import BaseSpec, Quantization
from workers.contract.lanes import Lane
from workers.contract.reports import ExitClass
from workers.host import TrainingHost
from workers.methods.linears import adaptable_linears, decoder_to_name, last_names

DECODER = "model.language_model"
TARGETS = ("q_proj", "v_proj", "down_proj")


@pytest.fixture(scope="module")
def gemma3(tmp_path_factory: pytest.TempPathFactory) -> BaseSpec:
    return make_odd_base(tmp_path_factory.mktemp("gemma3"), "gemma3", decoder=DECODER)


def test_no_linear_of_a_vision_tower_is_adaptable(gemma3: BaseSpec) -> None:
    model = AutoModelForCausalLM.from_pretrained(gemma3.location)
    assert decoder_to_name(model) == DECODER
    paths = adaptable_linears(model)
    assert last_names(paths) == set(gemma3.shape.linear_names)
    assert all(path.startswith(f"{DECODER}.layers.") for path in paths)


@pytest.mark.parametrize("lane", list(Lane))
@pytest.mark.parametrize("quantization", [Quantization.NONE, Quantization.NF4])
def test_the_adapter_of_a_multimodal_base_holds_its_decoder_alone_and_stock_peft_gives_equal_losses(
    tmp_path: Path, gemma3: BaseSpec, lane: Lane, quantization: Quantization
) -> None:
    validation = make_dataset(tmp_path / "validation.jsonl", sum_rows(5, start=50))
    changes = {"targets": TARGETS, "lane": lane, "quantization": quantization, "validation": validation}
    spec = make_job_spec(tmp_path, gemma3, **changes)
    host = TrainingHost(make_host_spec(tmp_path, gemma3, lane=lane, quantization=quantization))
    host.attach(make_order(spec))
    outcome = outcome_of(drain(host), spec.job_id)
    assert outcome.exit_class is ExitClass.OK, outcome.message
    assert outcome.adapter is not None
    assert outcome.eval_loss_after < outcome.eval_loss_before
    folder = Path(outcome.adapter.uri.removeprefix("file://")) / "peft"
    names = load_file(folder / "adapter_model.safetensors")
    held = {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in names}
    assert len(held) == 2 * len(TARGETS)
    assert all(path.startswith(DECODER) for path in held)
    if quantization is not Quantization.NONE:
        return
    plain = AutoModelForCausalLM.from_pretrained(gemma3.location)
    assert loss_of(plain, spec) == pytest.approx(outcome.eval_loss_before, rel=1e-5)
    tuned = PeftModel.from_pretrained(plain, folder)
    prefix = re.compile(r"^base_model\.model\.")
    assert {prefix.sub("", path) for path, module in tuned.named_modules() if isinstance(module, LoraLayer)} == held
    assert loss_of(tuned, spec) == pytest.approx(outcome.eval_loss_after, rel=1e-5)
