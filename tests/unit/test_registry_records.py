"""What the registry writes, before any server is asked: names, tags, the page, the MLmodel file."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.lifecycle.model_names import MAX_NAME_CHARS, fine_tuned_model_name, registered_name
from orchestrator.registry.card import model_card
from orchestrator.registry.entities import adapter_step
from orchestrator.registry.mlmodel import adapter_mlmodel
from orchestrator.registry.port import VersionPlace
from orchestrator.registry.provenance import adapter_tags, hyperparameters
from tests.builders.publications import make_manifest, make_publication, write_adapter
from tests.builders.specs import make_base_spec, make_dataset, make_job_spec

PLACE = VersionPlace("http://mlflow.example.test", "acme", "support-bot-tiny", "3")


@pytest.mark.parametrize(
    ("suffix", "base", "name"),
    [
        ("support-bot", "gemma-3-270m", "support-bot-gemma-3-270m"),
        (None, "gemma-3-270m", "gemma-3-270m"),
        ("Support Bot", "org/model:v1", "Support-Bot-org-model-v1"),
        ("", "org/x", "org-x"),
    ],
)
def test_a_registered_name_joins_suffix_and_base(suffix: str | None, base: str, name: str) -> None:
    assert registered_name(suffix, base) == name


@given(suffix=st.text(max_size=64) | st.none(), base=st.text(min_size=1, max_size=128))
def test_a_registered_name_is_always_one_that_mlflow_and_urls_take(suffix: str | None, base: str) -> None:
    name = registered_name(suffix, base)
    assert 0 < len(name) <= MAX_NAME_CHARS
    assert name.strip("-.") != ""
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in name)


def test_long_names_that_differ_at_the_end_stay_different() -> None:
    one, other = (registered_name("s" * 64, "b" * 100 + end) for end in "xy")
    assert one != other


def test_suffixes_in_other_scripts_stay_different() -> None:
    assert registered_name("日本", "base") != registered_name("中国", "base")


def test_a_fine_tuned_model_is_named_after_base_tenant_suffix_and_job() -> None:
    *fields, tail = fine_tuned_model_name("org/x", "acme", "bot", "ftjob-1").split(":")
    assert fields == ["ft", "org/x", "acme", "bot"]
    assert len(tail) == 8
    assert tail.isalnum()
    assert fine_tuned_model_name("org/x", "acme", None, "ftjob-1") == f"ft:org/x:acme::{tail}"
    assert not fine_tuned_model_name("org/x", "acme", None, "ftjob-2").endswith(tail)


def test_an_adapter_stands_for_its_last_step_or_for_the_one_that_early_stopping_chose(tmp_path: Path) -> None:
    last, best = make_publication(tmp_path, "acme"), make_publication(tmp_path, "acme", best_step=1)
    assert adapter_step(last) == max(point.step for point in last.metrics) > 1
    assert adapter_step(best) == 1
    assert "orchard.best_step" not in adapter_tags(last)
    assert adapter_tags(best)["orchard.best_step"] == "1"


def test_what_is_not_known_is_left_out_of_the_tags(tmp_path: Path) -> None:
    known = adapter_tags(make_publication(tmp_path, "acme"))
    unknown = adapter_tags(make_publication(tmp_path, "acme", eval_loss_after=None, base_license=None, job_url=None))
    assert known.keys() - unknown.keys() == {"orchard.eval_loss_after", "orchard.license", "orchard.job_url"}
    assert "None" not in unknown.values()


def test_validation_data_appear_beside_the_training_data(tmp_path: Path) -> None:
    spec = make_job_spec(tmp_path, validation=make_dataset(tmp_path / "valid.jsonl"))
    publication = make_publication(tmp_path, "acme", spec)
    assert adapter_tags(publication)["orchard.validation_dataset_id"] == "file-valid"
    assert "validation data | `file-valid`" in model_card(publication, PLACE)


def test_no_hyperparameter_is_forgotten(tmp_path: Path) -> None:
    publication = make_publication(tmp_path, "acme")
    written = hyperparameters(publication)
    for group, numbers in (("training", publication.spec.training), ("method", publication.spec.method)):
        assert {f"{group}.{name}" for name, value in numbers if value is not None} <= written.keys()


@pytest.mark.parametrize(
    ("source", "tells"),
    [
        ("hf:org/x", "snapshot_download('org/x', revision='abc123')"),
        ("file:/models/x", "BASE = '/models/x'"),
        ("gguf:/models/x.gguf", "from_pretrained('/models', **unpacked)"),
    ],
)
def test_the_page_holds_python_that_compiles_for_every_kind_of_base(tmp_path: Path, source: str, tells: str) -> None:
    base = make_base_spec("org/x", source, revision="abc123")
    card = model_card(make_publication(tmp_path, "acme", make_job_spec(tmp_path, base)), PLACE)
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert tells in code
    assert "loss before | 2.5000" in card
    assert "loss after | 0.5000" in card


def test_only_an_adapter_with_a_chat_template_claims_to_chat(tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter")
    plain = make_manifest(tmp_path / "adapter", chat_template_sha256=None)
    for manifest, chats in ((make_manifest(tmp_path / "adapter"), True), (plain, False)):
        publication = make_publication(tmp_path, "acme", manifest=manifest)
        text = adapter_mlmodel(publication, model_id="m-1", run_id="r", created_ms=0, mlflow="3")
        document = yaml.safe_load(text)
        assert ("signature" in document, "inference_task" in document["flavors"]["transformers"]) == (chats, chats)


def test_importing_the_registry_loads_neither_mlflow_nor_torch() -> None:
    modules = ["registry.mlflow_registry", "registry.fetch", "registry.card", "lifecycle.model_names"]
    code = "import sys\n" + "".join(f"import orchestrator.{name}\n" for name in modules)
    code += "print({'mlflow', 'torch', 'transformers', 'numpy', 'requests'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
