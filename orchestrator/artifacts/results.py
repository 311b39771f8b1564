"""The result file of a job: its metrics as plain CSV with OpenAI's columns."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from orchestrator.db.tables import FileRow
from orchestrator.storage.layout import file_uri, result_file_id
from orchestrator.storage.objects import write_chunks

COLUMNS: Final = ("step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy")
_SOURCES: Final = {
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "full_valid_loss",
    "valid_mean_token_accuracy": "full_valid_mean_token_accuracy",
}


class MetricEvent(Protocol):
    """Anything with a step's metrics."""

    data: Any


@dataclass(frozen=True)
class ResultFile:
    """A stored result file. Its id derives from the job's, so writing it twice yields one file."""

    file_id: str
    tenant_id: str
    uri: str
    size: int
    sha256: str

    def row(self, now: datetime) -> FileRow:
        """The row that makes it visible to the tenant."""
        return FileRow(
            id=self.file_id,
            tenant_id=self.tenant_id,
            filename="step_metrics.csv",
            purpose="fine-tune-results",
            bytes=self.size,
            sha256=self.sha256,
            uri=self.uri,
            status="processed",
            created_at=now,
        )


def result_csv(events: Sequence[MetricEvent]) -> bytes:
    """One line per step, evaluations merged into the line of their step."""
    steps: dict[int, dict[str, Any]] = {}
    for event in events:
        data = event.data or {}
        line = steps.setdefault(int(data["step"]), {"step": data["step"]})
        line.update({column: data[source] for column, source in _SOURCES.items() if data.get(source) is not None})
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(line for _, line in sorted(steps.items()))
    return text.getvalue().encode()


def write_result_file(storage_uri: str, tenant_id: str, job_id: str, content: bytes) -> ResultFile:
    """Write the CSV to storage. Raises: StorageDown, StorageFull."""
    file_id = result_file_id(job_id)
    uri = file_uri(storage_uri, tenant_id, file_id)
    write_chunks(uri, [content])
    return ResultFile(file_id, tenant_id, uri, len(content), hashlib.sha256(content).hexdigest())
