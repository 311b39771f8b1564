"""`workers.sample`: one load of the base answers with and without an adapter."""

import json
import subprocess
import sys

import pytest
from jinja2.exceptions import TemplateError

from tests.builders.specs import make_host_spec
from tests.builders.tiny_base import CHATML, make_tiny_base
from workers.contract.sampling import SampleAnswers, SamplePrompt, SampleRequest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")


def make_adapter(base, folder):
    """An adapter with large weights, so that its answers must differ."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj", "down_proj"])
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base.location), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=1.0)
    model.save_pretrained(folder)
    return str(folder)


def test_answers_come_in_order_and_an_adapter_changes_only_its_own(tmp_path):
    from workers.sample import sample

    base = make_tiny_base(tmp_path / "base")
    adapter = make_adapter(base, tmp_path / "adapter")
    questions = [SamplePrompt(prompt="one"), SamplePrompt(prompt="one", adapter=adapter), SamplePrompt(prompt="three")]
    alone = [SamplePrompt(prompt="one"), SamplePrompt(prompt="three")]
    host = make_host_spec(tmp_path, base)

    mixed = sample(SampleRequest(host=host, questions=tuple(questions), max_new_tokens=8)).answers
    plain = sample(SampleRequest(host=host, questions=tuple(alone), max_new_tokens=8)).answers

    assert (mixed[0], mixed[2]) == plain
    assert mixed[1] != mixed[0]


def test_prompts_get_the_template_arguments_that_the_adapters_rows_had(tmp_path):
    from workers.sample import sample

    template = "{% if mood is not defined %}{{ raise_exception('no mood') }}{% endif %}" + CHATML
    host = make_host_spec(tmp_path, make_tiny_base(tmp_path / "base", chat_template=template))
    ask = {"host": host, "questions": (SamplePrompt(prompt="one"),), "max_new_tokens": 2}
    assert len(sample(SampleRequest(**ask, chat_template_kwargs={"mood": "calm"})).answers) == 1
    with pytest.raises(TemplateError, match="no mood"):
        sample(SampleRequest(**ask))


@pytest.mark.slow
def test_as_a_program_it_reads_a_request_and_writes_answers(tmp_path):
    request = SampleRequest(
        host=make_host_spec(tmp_path, make_tiny_base(tmp_path / "base")),
        questions=(SamplePrompt(prompt="hello"),),
        max_new_tokens=2,
    )
    done = subprocess.run(
        [sys.executable, "-m", "workers.sample"],
        input=request.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(SampleAnswers(**json.loads(done.stdout.splitlines()[-1])).answers) == 1
