"""A publication as MLflow entities. Imports MLflow lazily; sends no requests."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from orchestrator.registry.port import MetricPoint, Publication
from orchestrator.registry.provenance import datasets, hyperparameters

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, LoggedModel, Metric, Param, Run

DIGEST_CHARS: Final = 36  # MLflow's bound; the source has the full digest


def params(publication: Publication) -> list["Param"]:
    """Every resolved number of the job."""
    from mlflow.entities import Param

    return [Param(key, value) for key, value in hyperparameters(publication).items()]


def dataset_inputs(publication: Publication) -> Iterator["DatasetInput"]:
    """Names and digests; the rows stay where they are."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    for use, data in datasets(publication).items():
        source = json.dumps({"file_id": data.file_id, "sha256": data.sha256})
        profile = json.dumps({"num_rows": data.rows, "format": data.format})
        dataset = Dataset(data.file_id, data.sha256[:DIGEST_CHARS], "orchard", source, profile=profile)
        yield DatasetInput(dataset, [InputTag("mlflow.data.context", use)])


def curves(points: tuple[MetricPoint, ...], start_ms: int) -> Iterator["Metric"]:
    """The points; those without a time get `start_ms`, the same on every retry."""
    from mlflow.entities import Metric

    for point in points:
        yield Metric(point.name, point.value, point.timestamp_ms or start_ms, point.step)


def evaluations(publication: Publication, run: "Run", model: "LoggedModel") -> Iterator["Metric"]:
    """The two losses that say whether training helped, tied to the adapter and the data they were measured on."""
    from mlflow.entities import Metric

    uses = datasets(publication)
    data = uses.get("validation", uses["training"])
    about = {"model_id": model.model_id, "dataset_name": data.file_id, "dataset_digest": data.sha256[:DIGEST_CHARS]}
    step = adapter_step(publication)
    losses = (
        ("eval_loss_before", publication.eval_loss_before, 0),
        ("eval_loss_after", publication.eval_loss_after, step),
    )
    for name, value, at in losses:
        if value is not None:
            yield Metric(name, value, run.info.start_time, at, run_id=run.info.run_id, **about)


def adapter_step(publication: Publication) -> int:
    """The optimizer step of the adapter's weights."""
    if publication.best_step is not None:
        return publication.best_step
    return max((point.step for point in publication.metrics), default=0)
