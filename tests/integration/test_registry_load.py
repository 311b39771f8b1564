"""A published adapter is loaded by the stock libraries: MLflow's transformers flavour, and PEFT on the folder.

This is the contract test of `orchestrator.registry.mlmodel`: the flavour's keys are private to MLflow.
"""

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow.models import Model
from mlflow.models.signature import ModelSignature
from mlflow.transformers.llm_inference_utils import infer_signature_from_llm_inference_task
from mlflow.utils.workspace_context import ServerWorkspaceContext
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
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


def save_trained_adapter(base: Path, adapter: Path, seed: int = 1) -> None:
    """Stock PEFT with a B that is not zero, as after training, in the layout that workers save."""
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    )
    torch.manual_seed(seed)
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


SHOW_LOADED = """
weights = {name: weight.sum().item() for name, weight in model.named_parameters() if "lora_" in name}
piped = {name: weight.sum().item() for name, weight in pipeline.model.named_parameters() if "lora_" in name}
assert weights == piped, "the two ways load different adapters"
print(max(weight for name, weight in weights.items() if "lora_B" in name), pipeline.task)
"""


def run_as_pasted(server: MlflowServer, workspace: str, where: Registered, folder: Path) -> float:
    """Run the code of a version's page in a bare process, without a network. Returns the largest sum of a B."""
    with ServerWorkspaceContext(workspace):
        page = mlflow.MlflowClient(server.uri, server.uri).get_model_version(where.name, where.version).description
    pasted = page.split("```python\n")[1].split("```")[0]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", pasted + SHOW_LOADED],
        env=environment | {"HF_HUB_OFFLINE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    largest, task = done.stdout.split()[-2:]
    assert task == "text-generation"
    return float(largest)


def largest_b(adapter: Path) -> float:
    weights = load_file(adapter / "peft" / "adapter_model.safetensors")
    return max(weight.sum().item() for name, weight in weights.items() if "lora_B" in name)


def test_the_snippet_of_a_versions_page_loads_that_version_and_not_the_newest(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    base = make_tiny_base(tmp_path / "base")
    registry = MlflowRegistry(mlflow_server.uri)
    versions = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        save_trained_adapter(tmp_path / "base", folder / "adapter", seed=number)
        spec = make_job_spec(folder, base, job_id=f"ftjob-{number}")
        publication = make_publication(folder, "tenant-two", spec)
        versions.append(registry.publish(publication, folder / "adapter"))
    assert [where.version for where in versions] == ["1", "2"]
    expected = [largest_b(tmp_path / str(number) / "adapter") for number in (1, 2)]
    assert expected[0] != pytest.approx(expected[1])
    loaded = [run_as_pasted(mlflow_server, "tenant-two", where, tmp_path) for where in versions]
    assert loaded == pytest.approx(expected)


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
