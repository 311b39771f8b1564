"""The tenants' side of the demo, through the stock OpenAI client."""

from dataclasses import dataclass
from typing import Any

import openai
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

from api.cli.client import OrchardClient
from api.demo.outcome import Result
from api.demo.tasks import RANKS, Task
from api.example.base import BASE_ID

N_EPOCHS = 2
BATCH_SIZE = 4
OPTIONS: dict[str, Any] = {
    "quantization": "nf4",
    "data": {"max_seq_len": 64},
    "training": {
        "learning_rate": 5e-4,
        "eval_interval_steps": 1_000,  # only before and after training
        "checkpoint_interval_steps": 16,
    },
}
TERMINAL = ("succeeded", "failed", "cancelled")


@dataclass
class Followed:
    """A job and the position in its events."""

    task: Task
    rank: int
    client: openai.OpenAI
    job: FineTuningJob
    last_event: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether the status is final."""
        return self.job.status in TERMINAL

    @property
    def details(self) -> dict[str, Any]:
        """The job's `x_orchard`."""
        details: dict[str, Any] = (self.job.model_extra or {}).get("x_orchard", {})
        return details

    def news(self) -> list[FineTuningJobEvent]:
        """Poll; return the events since the last poll, oldest first."""
        fresh: list[FineTuningJobEvent] = []
        for event in self.client.fine_tuning.jobs.list_events(self.job.id, limit=50):
            if event.id == self.last_event:
                break
            fresh.append(event)
        if fresh:
            self.last_event = fresh[0].id
        self.job = self.client.fine_tuning.jobs.retrieve(self.job.id)
        return fresh[::-1]

    def result(self) -> Result:
        """The job's current result."""
        registry = self.details.get("registry") or {}
        return Result(
            job=self.job.id,
            tenant=self.task.tenant,
            rank=self.rank,
            status=self.job.status,
            eval_loss_before=self.details.get("eval_loss_before"),
            eval_loss_after=self.details.get("eval_loss_after"),
            model=self.job.fine_tuned_model,
            registry_name=registry.get("name"),
            registry_version=registry.get("version"),
        )


def enter(admin: OrchardClient, task: Task, url: str) -> openai.OpenAI:
    """Create the tenant, unless an earlier run did, and a key; return a client that knows only URL and key."""
    if all(tenant.slug != task.tenant for tenant in admin.tenants()):
        admin.create_tenant(task.tenant, task.tenant.title())
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=admin.create_key(task.tenant, "demo").value)
    cancel_live(client)  # of an earlier run that was killed
    return client


def cancel_live(client: openai.OpenAI) -> None:
    """Cancel the tenant's live jobs."""
    for job in client.fine_tuning.jobs.list():
        if job.status not in TERMINAL:
            client.fine_tuning.jobs.cancel(job.id)


def submit_all(client: openai.OpenAI, task: Task) -> list[Followed]:
    """Upload both files once and submit one job for each rank."""
    training, validation = (
        client.files.create(file=path, purpose="fine-tune").id for path in (task.training_file, task.validation_file)
    )
    return [Followed(task, rank, client, _create(client, task, rank, training, validation)) for rank in RANKS]


def _create(client: openai.OpenAI, task: Task, rank: int, training: str, validation: str) -> FineTuningJob:
    return client.fine_tuning.jobs.create(
        model=BASE_ID,
        training_file=training,
        validation_file=validation,
        suffix=f"{task.name}-r{rank}",
        seed=7,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": N_EPOCHS, "batch_size": BATCH_SIZE}},
        },
        extra_body={"x_orchard": OPTIONS | {"method": {"rank": rank, "alpha": 2 * rank}}},
    )
