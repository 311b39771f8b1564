"""Publishing against a real MLflow server: what is there afterwards, and what a kill leaves behind."""

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.utils.workspace_context import ServerWorkspaceContext, get_request_workspace

from orchestrator.registry.connection import connect
from orchestrator.registry.errors import AdapterRefused, RegistryRefused, RegistryUnavailable
from orchestrator.registry.mlflow_registry import MlflowRegistry
from orchestrator.registry.port import Publication, Registered
from tests.builders.mlflow_server import MlflowServer, running_mlflow
from tests.builders.ports import claimed_port
from tests.builders.publications import BASE_DIGEST, CURVE, make_publication
from tests.builders.specs import make_job_spec

pytestmark = pytest.mark.slow

CALLS = (
    "create_workspace",
    "create_experiment",
    "create_logged_model",  # the base
    "log_model_artifacts",
    "finalize_logged_model",
    "create_registered_model",
    "create_run",
    "log_batch",  # hyperparameters
    "log_inputs",
    "create_logged_model",  # the adapter
    "log_model_artifacts",  # its weights and tokenizer
    "log_model_artifacts",  # its MLmodel
    "finalize_logged_model",
    "log_outputs",
    "log_batch",  # metrics
    "create_model_version",
    "update_model_version",  # its page, which names the version
    "set_registered_model_alias",
    "set_terminated",
)
"""Every call of a first publication that changes something, in order."""


class Killed(Exception):
    """Stands for the death of the process."""


class MortalClient:
    """An MLflow client that notes each call of `CALLS` and dies right after the n-th; 0: never."""

    def __init__(self, client: MlflowClient, dies_after: int = 0) -> None:
        self._client, self._dies_after = client, dies_after
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name not in CALLS:
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self.calls.append(name)
            if len(self.calls) == self._dies_after:
                raise Killed(name)
            return result

        return call


def registry_over(clients: list[MortalClient], server: MlflowServer, dies_after: int = 0) -> MlflowRegistry:
    """A registry whose clients are mortal, and kept in `clients`."""

    def open_client(uri: str) -> Any:
        clients.append(MortalClient(connect(uri), dies_after))
        return clients[-1]

    return MlflowRegistry(server.uri, connect=open_client)


def publish(server: MlflowServer, publication: Publication, folder: Path) -> Registered:
    return MlflowRegistry(server.uri).publish(publication, folder / "adapter")


def everything(server: MlflowServer, workspace: str) -> dict[str, list[Any]]:
    """All records of a workspace, however they came about."""
    client = MlflowClient(server.uri, server.uri)
    with ServerWorkspaceContext(workspace):
        experiments = [found.experiment_id for found in client.search_experiments() if found.name != "Default"]
        models = list(client.search_logged_models(experiments))
        return {
            "experiments": experiments,
            "runs": [client.get_run(found.info.run_id) for found in client.search_runs(experiments)],
            "bases": [found for found in models if found.model_type == "base"],
            "adapters": [found for found in models if found.model_type != "base"],
            "names": list(client.search_registered_models()),
            "versions": list(client.search_model_versions()),
        }


def test_a_published_adapter_is_a_version_with_provenance_and_the_alias_candidate(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    publication = make_publication(tmp_path, "tenant-provenance")
    registered = publish(mlflow_server, publication, tmp_path)
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    with ServerWorkspaceContext("tenant-provenance"):
        version: ModelVersion = client.get_model_version_by_alias(registered.name, "candidate")
    spec = publication.spec
    assert (version.version, version.run_id) == (registered.version, registered.run_id)
    assert version.source == f"models:/{registered.model_id}"
    assert (
        version.tags.items()
        >= {
            "orchard.job_id": spec.job_id,
            "orchard.base_id": spec.base.id,
            "orchard.base_sha256": BASE_DIGEST,
            "orchard.rank": "4",
            "orchard.alpha": "8",
            "orchard.peft_type": "LORA",
            "orchard.quantization": "none",
            "orchard.dataset_sha256": spec.data.training.sha256,
            "orchard.adapter_sha256": publication.manifest.adapter_sha256,
            "orchard.license": "apache-2.0",
            "orchard.eval_loss_before": "2.5",
            "orchard.eval_loss_after": "0.5",
        }.items()
    )
    assert spec.data.training.sha256 in version.description
    assert "PeftModel.from_pretrained" in version.description


def test_the_run_shows_base_and_data_as_inputs_the_adapter_as_output_and_every_point_of_the_curves(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    publication = make_publication(tmp_path, "tenant-lineage")
    registered = publish(mlflow_server, publication, tmp_path)
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    with ServerWorkspaceContext("tenant-lineage"):
        run = client.get_run(registered.run_id)
        history = client.get_metric_history(registered.run_id, "train_loss")
        model = client.get_logged_model(registered.model_id)
        base = client.get_logged_model(run.inputs.model_inputs[0].model_id)
    (data,) = run.inputs.dataset_inputs
    assert run.info.status == "FINISHED"
    assert run.data.params.items() >= {"method.rank": "4", "training.learning_rate": "0.01", "seed": "7"}.items()
    assert (base.params["sha256"], base.status) == (BASE_DIGEST, LoggedModelStatus.READY)
    assert data.dataset.digest == publication.spec.data.training.sha256[:36]
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]
    assert [made.model_id for made in run.outputs.model_outputs] == [registered.model_id]
    assert [(point.step, point.value) for point in history] == [(point.step, point.value) for point in CURVE]
    assert {metric.key: metric.value for metric in model.metrics} == {"eval_loss_before": 2.5, "eval_loss_after": 0.5}
    assert model.status is LoggedModelStatus.READY


def test_publishing_again_changes_nothing(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    publication = make_publication(tmp_path, "tenant-again")
    first = publish(mlflow_server, publication, tmp_path)
    assert publish(mlflow_server, publication, tmp_path) == first
    found = everything(mlflow_server, "tenant-again")
    assert {kind: len(items) for kind, items in found.items()} == dict.fromkeys(found, 1)


def test_a_publication_makes_these_calls_and_a_repeat_makes_none_of_them(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    publication = make_publication(tmp_path, "tenant-calls")
    clients: list[MortalClient] = []
    registry = registry_over(clients, mlflow_server)
    for _ in range(2):
        registry.publish(publication, tmp_path / "adapter")
    assert [tuple(client.calls) for client in clients] == [CALLS, ()]


@pytest.mark.parametrize("number", range(1, len(CALLS) + 1), ids=[f"{n}-{name}" for n, name in enumerate(CALLS, 1)])
def test_a_kill_after_any_call_and_a_repeat_leave_one_of_each(
    mlflow_server: MlflowServer, tmp_path: Path, number: int
) -> None:
    slug = f"tenant-killed-{number}"
    publication = make_publication(tmp_path, slug)
    with pytest.raises(Killed):
        registry_over([], mlflow_server, dies_after=number).publish(publication, tmp_path / "adapter")
    registered = publish(mlflow_server, publication, tmp_path)
    found = everything(mlflow_server, slug)
    assert {kind: len(items) for kind, items in found.items()} == dict.fromkeys(found, 1)
    (run,), (adapter,), (version,) = found["runs"], found["adapters"], found["versions"]
    assert run.info.status == "FINISHED"
    assert adapter.status is LoggedModelStatus.READY
    assert found["bases"][0].status is LoggedModelStatus.READY
    assert len(run.inputs.dataset_inputs) == len(run.inputs.model_inputs) == len(run.outputs.model_outputs) == 1
    assert (registered.version, registered.model_id) == (str(version.version), adapter.model_id)
    assert {alias: str(held) for alias, held in found["names"][0].aliases.items()} == {"candidate": registered.version}
    assert len(adapter.metrics) == 2
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    with ServerWorkspaceContext(slug):
        assert len(client.get_metric_history(run.info.run_id, "train_loss")) == len(CURVE)


class Overtaken:
    """An MLflow client before whose first version somebody else makes one of the same job."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_model_version(self, *args: Any, **kwargs: Any) -> ModelVersion:
        for _ in range(2):
            made = self._client.create_model_version(*args, **kwargs)
        return made


def test_of_two_publishers_of_one_job_both_go_on_with_the_first_version(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    publication = make_publication(tmp_path, "tenant-overtaken")
    registry = MlflowRegistry(mlflow_server.uri, connect=lambda uri: cast(MlflowClient, Overtaken(connect(uri))))
    registered = registry.publish(publication, tmp_path / "adapter")
    assert publish(mlflow_server, publication, tmp_path) == registered
    found = everything(mlflow_server, "tenant-overtaken")
    assert [str(version.version) for version in found["versions"]] == [registered.version] == ["1"]
    assert {alias: str(held) for alias, held in found["names"][0].aliases.items()} == {"candidate": "1"}


def test_an_older_job_published_late_does_not_take_the_alias_back(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    older = make_publication(tmp_path / "old", "tenant-alias", make_job_spec(tmp_path / "old", job_id="ftjob-old"))
    newer = make_publication(tmp_path / "new", "tenant-alias", make_job_spec(tmp_path / "new", job_id="ftjob-new"))
    first = publish(mlflow_server, older, tmp_path / "old")
    second = publish(mlflow_server, newer, tmp_path / "new")
    assert publish(mlflow_server, older, tmp_path / "old") == first
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    with ServerWorkspaceContext("tenant-alias"):
        held = client.get_model_version_by_alias(second.name, "candidate").version
    assert (first.version, second.version, str(held)) == ("1", "2", "2")
    assert len(everything(mlflow_server, "tenant-alias")["bases"]) == 1


def test_threads_publish_side_by_side_into_their_own_workspaces_and_leave_the_process_alone(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    slugs = ["tenant-side-a", "tenant-side-b"]
    jobs = [(slug, f"ftjob-{slug}-{number}") for slug in slugs for number in range(2)]
    registry = MlflowRegistry(mlflow_server.uri)

    def publish_job(job: tuple[str, str]) -> None:
        slug, job_id = job
        folder = tmp_path / job_id
        publication = make_publication(folder, slug, make_job_spec(folder, job_id=job_id))
        for _ in range(5):  # as the publishing loop repeats when two writers meet in MLflow's database
            with suppress(RegistryUnavailable):
                registry.publish(publication, folder / "adapter")
                return
        raise AssertionError(f"{job_id} was not published in five tries")

    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(publish_job, jobs))
    assert get_request_workspace() is None
    for slug in slugs:
        found = everything(mlflow_server, slug)
        assert {kind: len(items) for kind, items in found.items()} == {
            **dict.fromkeys(("experiments", "bases", "names"), 1),
            **dict.fromkeys(("runs", "adapters", "versions"), 2),
        }
        assert {run.data.tags["orchard.job_id"] for run in found["runs"]} == {job for own, job in jobs if own == slug}


def test_the_adapter_of_one_tenant_is_not_found_by_another(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    registered = publish(mlflow_server, make_publication(tmp_path, "tenant-secret"), tmp_path)
    client = MlflowClient(mlflow_server.uri, mlflow_server.uri)
    client.create_workspace("tenant-curious")
    with ServerWorkspaceContext("tenant-curious"):
        with pytest.raises(MlflowException, match="not found"):
            client.get_model_version(registered.name, registered.version)
        with pytest.raises(MlflowException, match="not found"):
            client.get_logged_model(registered.model_id)


def test_a_server_that_is_down_is_unavailable_and_worth_another_try(tmp_path: Path) -> None:
    publication = make_publication(tmp_path, "tenant-down")
    registry = MlflowRegistry(f"http://user:hunter2@127.0.0.1:{claimed_port()}")
    with pytest.raises(RegistryUnavailable) as caught:
        registry.publish(publication, tmp_path / "adapter")
    assert caught.value.retryable
    assert "hunter2" not in str(caught.value)


def test_a_server_that_takes_the_call_and_never_answers_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = MlflowRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(RegistryUnavailable):
            registry.publish(make_publication(tmp_path, "tenant-silent"), tmp_path / "adapter")


def test_an_address_where_something_else_answers_is_unavailable(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    registry = MlflowRegistry(f"{mlflow_server.uri}/elsewhere")
    with pytest.raises(RegistryUnavailable, match="404"):
        registry.publish(make_publication(tmp_path, "tenant-elsewhere"), tmp_path / "adapter")


def test_a_server_without_workspaces_is_unavailable_and_the_message_says_how_to_start_it(tmp_path: Path) -> None:
    with running_mlflow(tmp_path, workspaces=False) as server, pytest.raises(RegistryUnavailable) as caught:
        publish(server, make_publication(tmp_path, "tenant-shared"), tmp_path)
    assert "--enable-workspaces" in str(caught.value)


def test_a_name_that_mlflow_does_not_take_is_refused_for_good(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    publication = make_publication(tmp_path, "tenant-refused", name="not/allowed")
    with pytest.raises(RegistryRefused) as caught:
        publish(mlflow_server, publication, tmp_path)
    assert not caught.value.retryable


def test_a_folder_without_weights_is_refused_before_anything_is_made(
    mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    publication = make_publication(tmp_path, "tenant-hollow")
    (tmp_path / "adapter" / "peft" / "adapter_model.safetensors").unlink()
    with pytest.raises(AdapterRefused, match=r"adapter_model\.safetensors"):
        publish(mlflow_server, publication, tmp_path)
    assert "tenant-hollow" not in {found.name for found in MlflowClient(mlflow_server.uri).list_workspaces()}
