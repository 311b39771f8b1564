"""A published adapter is loaded by the stock libraries: MLflow's transformers flavour, and PEFT on the folder.

This is the contract test of `orchestrator.registry.mlmodel`: the flavour's keys are private to MLflow.
"""

import json
from importlib.resources import files
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.transformers.llm_inference_utils import infer_signature_from_llm_inference_task
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.registry.mlflow_registry import MlflowRegistry
from orchestrator.registry.port import Publication, Registered
from tests.builders.mlflow_server import MlflowServer
from tests.builders.publications import make_publication
from tests.builders.specs import make_job_spec
from tests.builders.tiny_base import make_tiny_base

pytestmark = pytest.mark.slow

TENANT = "tenant-load"
PROMPT = "after 3?"


def logits(model: torch.nn.Module, folder: Path) -> torch.Tensor:
    """Shape [1, T, vocabulary]."""
    tokens = AutoTokenizer.from_pretrained(folder)(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model.eval()(tokens).logits


def save_trained_adapter(base: Path, adapter: Path) -> None:
    """Stock PEFT with a B that is not zero, as after training, in the layout that workers save."""
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    )
    torch.manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(adapter / "peft")
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter / "components" / "tokenizer")


@pytest.fixture(scope="module")
def published(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Publication, Registered]:
    folder = tmp_path_factory.mktemp("published")
    base = make_tiny_base(folder / "base")
    save_trained_adapter(folder / "base", folder / "adapter")
    publication = make_publication(folder, TENANT, make_job_spec(folder, base))
    return publication, MlflowRegistry(mlflow_server.uri).publish(publication, folder / "adapter")


@pytest.fixture
def consumer(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment in which a tenant's data scientist runs the snippet of the adapter's page."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    monkeypatch.setenv("MLFLOW_WORKSPACE", TENANT)


@pytest.mark.usefixtures("consumer")
def test_mlflow_and_peft_load_the_same_model_and_it_differs_from_the_base(
    published: tuple[Publication, Registered], tmp_path: Path
) -> None:
    publication, registered = published
    base_folder = tmp_path / "elsewhere"
    base_folder.symlink_to(publication.spec.base.location)
    pipeline = mlflow.transformers.load_model(f"models:/{registered.name}@candidate", base_model_path=str(base_folder))
    downloaded = Path(mlflow.artifacts.download_artifacts(registered.model_uri, dst_path=str(tmp_path / "download")))
    base = AutoModelForCausalLM.from_pretrained(base_folder)
    from_base = logits(base, downloaded / "components" / "tokenizer")
    from_peft = logits(PeftModel.from_pretrained(base, downloaded / "peft"), downloaded / "components" / "tokenizer")
    assert torch.equal(logits(pipeline.model, base_folder), from_peft)
    assert not torch.allclose(from_peft, from_base, atol=1e-2)
    assert isinstance(pipeline(PROMPT, max_new_tokens=2)[0]["generated_text"], str)


@pytest.mark.usefixtures("consumer")
def test_the_recorded_base_folder_is_used_when_none_is_given(published: tuple[Publication, Registered]) -> None:
    _, registered = published
    pipeline = mlflow.transformers.load_model(registered.model_uri)
    assert pipeline.model.peft_config["default"].r == 4


@pytest.mark.usefixtures("consumer")
def test_as_a_python_function_it_answers_chats_in_openais_shape(published: tuple[Publication, Registered]) -> None:
    _, registered = published
    function = mlflow.pyfunc.load_model(registered.model_uri)
    (answer,) = function.predict({"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 2})
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["completion_tokens"] == 2


@pytest.mark.usefixtures("consumer")
def test_the_snippet_on_the_page_runs_as_it_stands(published: tuple[Publication, Registered]) -> None:
    _, registered = published
    version = mlflow.MlflowClient().get_model_version(registered.name, registered.version)
    names: dict[str, object] = {}
    exec(version.description.split("```python\n")[1].split("```")[0], names)
    assert isinstance(names["model"], PeftModel)
    assert names["pipeline"].task == "text-generation"  # type: ignore[attr-defined]


@pytest.mark.usefixtures("consumer")
def test_the_stored_folder_is_the_adapter_its_tokenizer_and_the_mlmodel(
    published: tuple[Publication, Registered], tmp_path: Path
) -> None:
    publication, registered = published
    downloaded = Path(mlflow.artifacts.download_artifacts(registered.model_uri, dst_path=str(tmp_path)))
    stored = {path.relative_to(downloaded).as_posix() for path in downloaded.rglob("*") if path.is_file()}
    assert stored >= {file.path for file in publication.manifest.files} | {"MLmodel"}
    model = Model.load(str(downloaded / "MLmodel"))
    assert model.flavors["peft"]["adapter_sha256"] == publication.manifest.adapter_sha256
    assert model.signature is not None
    assert (model.model_id, model.run_id) == (registered.model_id, registered.run_id)


def test_the_chat_signature_is_the_one_that_mlflow_gives_to_chat_models() -> None:
    stored = json.loads(files("orchestrator.registry").joinpath("chat_signature.json").read_text())
    assert ModelSignature.from_dict(stored) == infer_signature_from_llm_inference_task("llm/v1/chat")
