"""The response fields that the client reads. Unknown fields are kept, so that a newer server still works."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from workers.contract.files import Container

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class ApiObject(BaseModel):
    """An object of the API."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Page(ApiObject):
    """A part of a list."""

    data: list[dict[str, Any]]
    has_more: bool = False


class UsageTime(ApiObject):
    """What was used in one hour or day."""

    start_time: int
    end_time: int
    results: list[dict[str, Any]]


class UsagePage(ApiObject):
    """A part of the usage; `next_page` is the `start` of the next."""

    data: list[UsageTime]
    has_more: bool = False
    next_page: int | str | None = None


class Issue(ApiObject):
    """One problem of one row of a file."""

    id: str = ""
    line: int
    field: str | None = None
    code: str = ""
    message: str


class IssuePage(ApiObject):
    """A part of a report, and the totals of all of it."""

    data: list[Issue]
    has_more: bool = False
    issue_count: int = 0
    stored_count: int = 0
    codes: dict[str, int] = {}


class FileDetails(ApiObject):
    """The `x_orchard` part of a file."""

    sha256: str | None = None
    container: str = Container.JSONL
    rows: int | None = None
    issue_count: int = 0
    notes: list[dict[str, Any]] = []
    issues: list[Issue] = []


class File(ApiObject):
    """An uploaded file."""

    id: str
    filename: str
    purpose: str | None = None
    bytes: int
    status: str
    status_details: str | None = None
    expires_at: int | None = None
    x_orchard: FileDetails = FileDetails()


class Upload(ApiObject):
    """An upload in parts, or one part of it."""

    id: str
    file: File | None = None


class JobError(ApiObject):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class Registry(ApiObject):
    """Where the registry keeps an adapter."""

    name: str
    version: str | int
    url: str | None = None


class Progress(ApiObject):
    """The `x_orchard` part of a job that the CLI shows; the resolved numbers are kept as extra fields."""

    state: str | None = None
    queue_reason: str | None = None
    attempt: int | None = None
    step: int | None = None
    total_steps: int | None = None
    best_step: int | None = None
    stopped_early: bool = False
    eval_loss_before: float | None = None
    eval_loss_after: float | None = None
    registry: Registry | None = None


class Job(ApiObject):
    """A fine-tuning job."""

    id: str
    status: str
    model: str
    created_at: int
    finished_at: int | None = None
    fine_tuned_model: str | None = None
    user_provided_suffix: str | None = None
    trained_tokens: int | None = None
    error: JobError | None = None
    x_orchard: Progress = Progress()

    @property
    def is_over(self) -> bool:
        """Whether the status is final."""
        return self.status in TERMINAL


class Event(ApiObject):
    """One line of a job's history."""

    id: str
    created_at: int
    level: str
    message: str
    type: str = "message"
    data: dict[str, Any] | None = None

    @property
    def train_loss(self) -> float | None:
        """The loss of the event's step, if it has one."""
        loss = (self.data or {}).get("train_loss")
        return None if loss is None else float(loss)


class Model(ApiObject):
    """A base or an adapter, as `/v1/models` lists it."""

    id: str
    created: int
    owned_by: str


class Tenant(ApiObject):
    """A tenant, as the operator sees it."""

    id: str
    slug: str
    name: str
    weight: int = 1
    suspended_at: int | None = None
    suspension_reason: str | None = None


class Key(ApiObject):
    """An API key. Its secret is not part of it."""

    id: str
    name: str


class IssuedKey(Key):
    """A key with its secret, shown once."""

    value: str
