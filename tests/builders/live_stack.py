"""`LiveStack`: the embedded stack with a tiny base, its tenants, and the stock client of each."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJob

from orchestrator.catalogue.entries import Catalogue, CatalogueBase, Flavor
from orchestrator.catalogue.file import dump_catalogue
from orchestrator.db.database import Database
from orchestrator.embedded.stack import EmbeddedStack, StackOptions
from orchestrator.tenancy.keys import create_admin_key
from tests.builders.options import x_orchard
from tests.builders.ports import claimed_ports
from tests.builders.specs import sum_rows
from tests.builders.tiny_base import make_tiny_base
from tests.builders.waiting import wait_until
from workers.contract.base import ComputeDtype, Quantization

GB = 10**9
TERMINAL = ("succeeded", "failed", "cancelled")


@dataclass
class LiveStack:
    """A running stack. Tests use HTTP for everything except creating keys."""

    stack: EmbeddedStack
    db: Database
    base_folder: Path

    def client(self, slug: str) -> openai.OpenAI:
        """The stock client of a new tenant."""
        self.admin.post("/admin/tenants", cast_to=object, body={"slug": slug, "name": slug.title()})
        key = self.admin.post(f"/admin/tenants/{slug}/keys", cast_to=object, body={"name": "test"})
        return openai.OpenAI(base_url=f"{self.stack.api_url}/v1", api_key=key["value"])  # type: ignore[index]

    @cached_property
    def admin(self) -> openai.OpenAI:
        """The stock client with an administrator's key."""
        _, secret = create_admin_key(self.db, "test", datetime.now(UTC))
        return openai.OpenAI(base_url=f"{self.stack.api_url}/v1", api_key=secret)

    def hosts(self) -> list[dict[str, Any]]:
        """The hosts as an administrator sees them."""
        return self.admin.get("/admin/hosts", cast_to=object)["data"]  # type: ignore[index, no-any-return]

    def child_pid(self, name: str) -> int:
        """Process id of a child of the stack: `ray`, `mlflow`, `api` or `orchestrator`."""
        roll = json.loads((self.stack.home / "run" / "children.json").read_text())
        return int(roll[name]["pid"])


@contextmanager
def live_stack(home: Path, database_url: str | None = None, devices: int = 1) -> Iterator[LiveStack]:
    """Start the whole stack on free ports and stop it at the end."""
    base = make_tiny_base(home / "base")
    entry = CatalogueBase(
        spec=base,
        license="apache-2.0",
        quantizations=(Quantization.NF4, Quantization.NONE, Quantization.INT8),
        compute_dtype=ComputeDtype.FP32,
        max_seq_len=256,
    )
    flavor = Flavor(name="cpu", memory_bytes=6 * GB, count=devices, max_seats=8, threads=1)
    catalogue = home / "catalogue.yaml"
    catalogue.write_text(dump_catalogue(Catalogue(bases=(entry,), flavors=(flavor,))))
    port, mlflow_port = claimed_ports(2)
    options = StackOptions(home / "stack", catalogue, port=port, mlflow_port=mlflow_port, database_url=database_url)
    stop = threading.Event()
    with EmbeddedStack(options) as stack:
        watcher = threading.Thread(target=stack.watch, args=(stop,))
        watcher.start()
        db = Database(stack.database_url)
        try:
            yield LiveStack(stack, db, home / "base")
        finally:
            stop.set()
            watcher.join()
            db.dispose()


def upload(client: openai.OpenAI, rows: list[dict[str, Any]] | None = None, name: str = "train.jsonl") -> str:
    """Upload rows (12 easy ones by default) and return the file's id."""
    lines = sum_rows(12) if rows is None else rows
    data = "".join(json.dumps(row) + "\n" for row in lines).encode()
    return client.files.create(file=(name, data), purpose="fine-tune").id


def submit(client: openai.OpenAI, training_file: str, n_epochs: int = 2, **options: Any) -> FineTuningJob:
    """Submit a small job; `options` are those of `x_orchard`, in any section."""
    validation = options.pop("validation_file", openai.omit)
    suffix = options.pop("suffix", openai.omit)
    return client.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        validation_file=validation,
        suffix=suffix,
        seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": n_epochs, "batch_size": 4}}},
        extra_body={"x_orchard": x_orchard(**({"learning_rate": 1e-2, "max_seq_len": 128} | options))},
    )


def wait_for_end(client: openai.OpenAI, job_id: str, timeout_s: float = 180) -> FineTuningJob:
    """Wait until the job has ended in any state."""
    over = lambda: client.fine_tuning.jobs.retrieve(job_id).status in TERMINAL  # noqa: E731
    wait_until(over, f"end of {job_id}", timeout_s, pause_s=0.5)
    return client.fine_tuning.jobs.retrieve(job_id)


def details(job: FineTuningJob) -> dict[str, Any]:
    """The job's `x_orchard` object."""
    return job.model_extra["x_orchard"]  # type: ignore[index, no-any-return]


def messages(client: openai.OpenAI, job_id: str) -> list[str]:
    """The job's events, oldest first."""
    return [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=100)][::-1]
