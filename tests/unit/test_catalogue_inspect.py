"""Reading a base without torch: its sizes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalogue.inspect import inspect, license_of_card
from orchestrator.catalogue.refusal import Refused
from tests.builders.base_folder import OUTSIDE, PARAMETERS, SHAPES, make_folder, write_safetensors
from workers.contract.base import DECODER_LINEARS, BaseShape, LinearShape


def test_a_folder_tells_its_shape_linears_license_and_template(tmp_path: Path) -> None:
    facts = inspect(f"file:{make_folder(tmp_path)}")
    assert facts.shape == BaseShape(
        parameters=PARAMETERS,
        vocab_size=10,
        hidden_size=8,
        intermediate_size=16,
        num_layers=2,
        query_size=8,
        key_value_size=4,
        max_positions=64,
    )
    assert facts.target_modules == DECODER_LINEARS
    assert facts.has_chat_template
    assert facts.license == "apache-2.0"


def test_weights_in_several_files_are_counted_together(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    layers = {name: sizes for name, sizes in SHAPES.items() if name not in OUTSIDE}
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    index = {"weight_map": dict.fromkeys(OUTSIDE, names[0]) | dict.fromkeys(layers, names[1])}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    write_safetensors(tmp_path / names[0], OUTSIDE)
    with pytest.raises(Refused, match=r"names model-00002-of-00002\.safetensors, which is missing \(1 of 2 files\)"):
        inspect(f"file:{tmp_path}")
    write_safetensors(tmp_path / names[1], layers)
    assert inspect(f"file:{tmp_path}").shape.parameters == PARAMETERS


def test_the_head_size_of_the_config_is_believed(tmp_path: Path) -> None:
    shape = inspect(f"file:{make_folder(tmp_path, head_dim=16)}").shape
    assert (shape.query_size, shape.key_value_size) == (64, 32)


def test_the_older_names_of_gpt2_are_understood(tmp_path: Path) -> None:
    make_folder(tmp_path)
    config = {"n_embd": 8, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": None, "vocab_size": 10}
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"], **config}))
    write_safetensors(tmp_path / "model.safetensors", {"h.0.attn.c_attn.weight": (8, 24), "wte.weight": (10, 8)})
    facts = inspect(f"file:{tmp_path}")
    assert (facts.shape.intermediate_size, facts.shape.key_value_size) == (32, 8)
    assert facts.target_modules == ("c_attn",)
    assert facts.shape.linears == (LinearShape(name="c_attn", inputs=8, outputs=24, count=1),)


def test_experts_and_their_router_are_no_linears_to_adapt(tmp_path: Path) -> None:
    make_folder(tmp_path)
    names = ("self_attn.q_proj", "mlp.gate", "mlp.experts.0.down_proj")
    write_safetensors(tmp_path / "model.safetensors", {f"model.layers.0.{name}.weight": (8, 8) for name in names})
    assert inspect(f"file:{tmp_path}").target_modules == ("q_proj",)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, "is an encoder-decoder"),
        ({"architectures": ["BertForMaskedLM"]}, "BertForMaskedLM cannot be trained"),
        ({"architectures": ["BertLMHeadModel"]}, "BertLMHeadModel cannot be trained"),
        ({"architectures": ["RobertaForCausalLM"]}, "RobertaForCausalLM cannot be trained"),
        ({"architectures": ["RobertaForCausalLM"], "is_decoder": False}, "RobertaForCausalLM cannot be trained"),
        ({"architectures": ["BartForCausalLM"], "is_decoder": True}, "BartForCausalLM cannot be trained"),
        ({"architectures": ["LlavaForConditionalGeneration"], "text_config": {}}, "add the text-only model"),
        ({"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {}}, "has no hidden_size"),
        ({"architectures": None}, "names no architecture"),
        ({"auto_map": {"AutoModel": "modeling.Own"}}, "auto_map"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"quantized already \(gptq\)"),
        ({"num_attention_heads": None}, "has no num_attention_heads"),
        ({"hidden_size": "8"}, "hidden_size is '8'"),
        ({"hidden_size": None, "n_embd": "8"}, "n_embd is '8'"),
        ({"head_dim": "2"}, "head_dim is '2'"),
        ({"vocab_size": 0}, "vocab_size is 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_its_config(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    make_folder(tmp_path, **config)
    with pytest.raises(Refused, match=message):
        inspect(f"file:{tmp_path}")


def test_a_kind_of_bert_whose_config_says_that_it_is_a_decoder_is_taken(tmp_path: Path) -> None:
    make_folder(tmp_path, architectures=["RobertaForCausalLM"], is_decoder=True)
    assert inspect(f"file:{tmp_path}").target_modules == DECODER_LINEARS


def test_pickles_alone_and_pickles_beside_weights_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(Refused, match=r"contains pytorch_model\.bin"):
        inspect(f"file:{tmp_path}")
    (tmp_path / "pytorch_model.bin").unlink()
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(Refused, match=r"no \*\.safetensors"):
        inspect(f"file:{tmp_path}")


@pytest.mark.parametrize("kept", [4, 100, -1])
def test_a_file_that_is_shorter_than_its_header_says_is_refused(tmp_path: Path, kept: int) -> None:
    file = make_folder(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(Refused, match="is truncated"):
        inspect(f"file:{tmp_path}")


def test_a_file_that_the_system_does_not_read_is_refused_with_its_reason(tmp_path: Path) -> None:
    file = make_folder(tmp_path) / "model.safetensors"
    file.unlink()
    file.symlink_to(file)  # whoever runs the test may read what has no permissions
    with pytest.raises(Refused, match=r"model\.safetensors cannot be read: Too many levels of symbolic links"):
        inspect(f"file:{tmp_path}")


def test_a_folder_without_config_or_tokenizer_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(Refused, match="no tokenizer"):
        inspect(f"file:{tmp_path}")
    (tmp_path / "config.json").unlink()
    with pytest.raises(Refused, match=r"no config\.json"):
        inspect(f"file:{tmp_path}")
    with pytest.raises(Refused, match="does not exist"):
        inspect(f"file:{tmp_path}/nowhere")


def test_a_base_without_a_template_says_so_and_one_in_a_file_of_its_own_counts(tmp_path: Path) -> None:
    make_folder(tmp_path, template=False)
    assert not inspect(f"file:{tmp_path}").has_chat_template
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert inspect(f"file:{tmp_path}").has_chat_template


@pytest.mark.parametrize("card", ["", "# no head", "---\n: [\n---\n", "---\nlicense: [a, b]\n---\n"])
def test_a_card_that_names_no_license_gives_none(tmp_path: Path, card: str) -> None:
    (tmp_path / "README.md").write_text(card)
    assert license_of_card(tmp_path / "README.md") is None


def test_what_is_no_gguf_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "base.gguf").write_bytes(b"GGML")
    with pytest.raises(Refused, match="truncated or no GGUF"):
        inspect(f"gguf:{tmp_path / 'base.gguf'}")
    with pytest.raises(Refused, match="there is no file"):
        inspect(f"gguf:{tmp_path / 'none.gguf'}")
