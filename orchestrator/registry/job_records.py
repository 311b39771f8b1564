"""The records of one job in MLflow: run, inputs, logged model, curves, version, alias.

Every step first looks for the record of an earlier try; the run is finished last.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.registry.card import model_card
from orchestrator.registry.entities import adapter_step, curves, dataset_inputs, evaluations, params
from orchestrator.registry.errors import AdapterRefused
from orchestrator.registry.mlmodel import PEFT_FOLDER, TOKENIZER_FOLDER, adapter_mlmodel
from orchestrator.registry.port import Publication, Registered, VersionPlace
from orchestrator.registry.provenance import ADAPTER_SHA256, JOB_ID, adapter_tags, hyperparameters
from orchestrator.registry.tenant_space import TenantSpace, finalize_with, logged_model_name
from workers.contract.failpoints import failpoint

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE: Final = "candidate"
METRICS_PER_BATCH: Final = 500  # MLflow accepts 1,000 per request


@dataclass(frozen=True)
class JobRecords:
    """Writes the records of one publication into the current workspace."""

    client: "MlflowClient"
    space: TenantSpace
    publication: Publication
    address: str
    """MLflow as readers reach it; for the snippet of the version's page."""

    def write(self, adapter_folder: Path) -> Registered:
        """Run all steps in order. Raises the errors of MLflow's client."""
        run = self._ensure_run()
        self._ensure_inputs(run)
        model = self._ensure_model(run, adapter_folder)
        self._ensure_output(run, model)
        if run.info.status != "FINISHED":  # curves may be long; logging them is the only costly step
            self._log_metrics(run, model)
        version = self._ensure_version(run, model)
        failpoint("publish.version")
        self._ensure_card(version)
        self._raise_candidate(int(version.version))
        if run.info.status != "FINISHED":
            self.client.set_terminated(run.info.run_id, "FINISHED")
        return Registered(self.publication.name, str(version.version), run.info.run_id, model.model_id)

    def _ensure_run(self) -> "Run":
        publication = self.publication
        found = self.client.search_runs([self.space.experiment_id], self._by(JOB_ID), max_results=1)
        if found:
            run = self.client.get_run(found[0].info.run_id)  # search results omit input and output models
        else:
            run = self.client.create_run(
                self.space.experiment_id,
                run_name=f"{publication.name} {publication.job_id}",
                tags=adapter_tags(publication),
            )
        if run.info.status != "FINISHED":
            self.client.log_batch(run.info.run_id, params=params(publication))
        return run

    def _ensure_inputs(self, run: "Run") -> None:
        from mlflow.entities import LoggedModelInput

        known_models = {given.model_id for given in run.inputs.model_inputs} if run.inputs else set()
        known_data = {given.dataset.digest for given in run.inputs.dataset_inputs} if run.inputs else set()
        models = [LoggedModelInput(self.space.base_model_id)] if self.space.base_model_id not in known_models else []
        inputs = [given for given in dataset_inputs(self.publication) if given.dataset.digest not in known_data]
        if models or inputs:
            self.client.log_inputs(run.info.run_id, models=models, datasets=inputs)

    def _ensure_model(self, run: "Run", adapter_folder: Path) -> "LoggedModel":
        import mlflow
        from mlflow.entities import LoggedModelStatus

        publication, client = self.publication, self.client
        found = client.search_logged_models([self.space.experiment_id], self._by(JOB_ID, ADAPTER_SHA256), max_results=1)
        model = found[0] if found else None
        if model is None:
            model = client.create_logged_model(
                self.space.experiment_id,
                name=logged_model_name(publication.name),
                source_run_id=run.info.run_id,
                tags=adapter_tags(publication),
                params=hyperparameters(publication),
                model_type="peft-lora",
            )
        if model.status != LoggedModelStatus.READY:
            client.log_model_artifacts(model.model_id, str(adapter_folder))
            ids = {"model_id": model.model_id, "run_id": run.info.run_id}
            document = adapter_mlmodel(
                publication, **ids, created_ms=model.creation_timestamp, mlflow=mlflow.__version__
            )
            finalize_with(client, model, document)
        return model

    def _ensure_output(self, run: "Run", model: "LoggedModel") -> None:
        from mlflow.entities import LoggedModelOutput

        known = {made.model_id for made in run.outputs.model_outputs} if run.outputs else set()
        if model.model_id not in known:
            self.client.log_outputs(
                run.info.run_id, [LoggedModelOutput(model.model_id, step=adapter_step(self.publication))]
            )

    def _log_metrics(self, run: "Run", model: "LoggedModel") -> None:
        """Log curves on the run, evaluation losses on run and model. MLflow drops duplicate points."""
        metrics = [
            *curves(self.publication.metrics, run.info.start_time),
            *evaluations(self.publication, run, model),
        ]
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self.client.log_batch(run.info.run_id, metrics=metrics[start : start + METRICS_PER_BATCH])

    def _ensure_version(self, run: "Run", model: "LoggedModel") -> "ModelVersion":
        """The job's version. Another publisher, believed dead, may create one between this search and create. Both then
        use the lowest version and delete their own if it is another.
        """
        first = self._first_version()
        if first is not None:
            return first
        made = self._create_version(run, model)
        first = self._first_version() or made
        if first.version != made.version:
            self.client.delete_model_version(made.name, str(made.version))
        return first

    def _first_version(self) -> "ModelVersion | None":
        named = f"name = '{self.publication.name}' AND {self._by(JOB_ID, ADAPTER_SHA256)}"
        return min(self.client.search_model_versions(named), key=lambda found: int(found.version), default=None)

    def _create_version(self, run: "Run", model: "LoggedModel") -> "ModelVersion":
        publication = self.publication
        return self.client.create_model_version(
            publication.name,
            source=f"models:/{model.model_id}",
            run_id=run.info.run_id,
            model_id=model.model_id,
            tags=adapter_tags(publication),
            await_creation_for=None,
        )

    def _ensure_card(self, version: "ModelVersion") -> None:
        """The version's page. It names the version, so it is written once MLflow has numbered it."""
        place = VersionPlace(self.address, self.publication.tenant_slug, version.name, str(version.version))
        card = model_card(self.publication, place)
        if version.description != card:
            self.client.update_model_version(version.name, str(version.version), card)

    def _raise_candidate(self, version: int) -> None:
        """Move the alias forward only: a late retry of an older job must not move it back."""
        current = self.client.get_registered_model(self.publication.name).aliases.get(CANDIDATE)
        if current is None or int(current) < version:
            self.client.set_registered_model_alias(self.publication.name, CANDIDATE, str(version))

    def _by(self, *names: str) -> str:
        """A search filter for this job's own tags."""
        tags = adapter_tags(self.publication)
        return " AND ".join(f"tags.`{name}` = '{tags[name]}'" for name in names)


def check_layout(folder: Path) -> None:
    """Raises: AdapterRefused when the folder does not hold what workers save."""
    for expected in (
        f"{PEFT_FOLDER}/adapter_config.json",
        f"{PEFT_FOLDER}/adapter_model.safetensors",
        TOKENIZER_FOLDER,
    ):
        if not (folder / expected).exists():
            raise AdapterRefused(f"The adapter has no {expected}; the worker must save it before it reports success.")
