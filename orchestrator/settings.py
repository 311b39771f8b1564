"""The settings of the control plane's processes, read from the environment once, in their `main()`."""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orchestrator.queries.registry_pages import public_address
from orchestrator.webhooks.addresses import EgressPolicy
from orchestrator.webhooks.secrets import SecretBox
from workers.contract.encoding import EncodeLimits


class SettingsError(Exception):
    """The environment does not hold what a process needs. Names variables, and never a value."""


def read_settings() -> "Settings":
    """The settings of this process. Raises: SettingsError."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"{_variable(detail['loc'])}: {detail['msg']}" for detail in error.errors(include_input=False)]
        raise SettingsError("missing or wrong settings: " + "; ".join(wrong)) from None


def _variable(location: tuple[int | str, ...]) -> str:
    return f"ORCHARD_{str(location[0]).upper()}" if location else "together"


class Settings(BaseSettings):
    """Every field is the environment variable `ORCHARD_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="ORCHARD_", frozen=True, hide_input_in_errors=True)

    database_url: SecretStr = Field(description="SQLAlchemy URL: sqlite:///file or postgresql+psycopg://…")
    storage_uri: str = Field(description="fsspec root of files, checkpoints and adapters: file:///… or s3://…")
    catalogue: Path = Field(description="YAML file of bases and flavors")
    mlflow_uri: str = Field("http://127.0.0.1:5000", description="tracking server")
    mlflow_public_url: str | None = Field(
        None, description="how tenants reach MLflow, for links and snippets; left out: as `mlflow_uri` says"
    )
    ray_address: str = Field("127.0.0.1:6379", description="`host:port` of the head of the Ray cluster")
    ray_namespace: str = Field("orchard", description="of the hosts' names; one for each database on a Ray cluster")
    cache_dir: Path = Field(description="folder on the hosts' machines for converted weights")
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, ge=0, le=65_535)
    max_connections: int = Field(
        2_000, ge=16, description="connections of one process of the API; fewer where its limit of open files is lower"
    )
    header_timeout_s: float = Field(20, gt=0, description="the head of a request has to come within so long")
    body_timeout_s: float = Field(
        60, gt=0, description="a body that moves less than 500 bytes a second for so long, either way, has stalled"
    )
    keep_alive_s: float = Field(75, gt=0, description="a connection without requests is closed after so long")
    statement_timeout_s: float = Field(
        15, gt=0, description="a statement of the API to the database that takes longer is cancelled"
    )
    one_core: bool = Field(
        False, description="the API's process stays on one core, drawn by chance; not where others place processes"
    )
    health_host: str = Field("127.0.0.1", description="address the orchestrator's probes listen on")
    health_port: int | None = Field(
        8001, ge=0, le=65_535, description="their port; 0: any free one, which the log names; empty: none"
    )
    public_url: str | None = Field(None, description="how tenants reach the API; for links in the registry")
    loop_interval_s: float = Field(0.5, gt=0, description="pause between two passes of the control loop")
    lease_ttl_s: int = Field(60, ge=5, description="an attempt not heard of for so long has lost its lease")
    role_ttl_s: int = Field(
        15, ge=5, description="another orchestrator acts after so much silence of the one that acts now"
    )
    orchestrator_timeout_s: int = Field(
        900, ge=60, description="a host that no orchestrator polls for so long saves its seats, ends them and exits"
    )
    drain_s: int = Field(
        0, ge=0, description="told to stop, the orchestrator that acts has all seats saved first, for at most so long"
    )
    no_progress_s: int = Field(
        600, ge=10, description="a host whose seats train and take no step for so long (or 10 usual steps) is ended"
    )
    slow_phase_s: int = Field(
        3_600, ge=10, description="the same for seats that wait, prepare, evaluate or save, where no step is counted"
    )
    host_idle_s: int = Field(600, ge=0, description="a host without seats may be retired after this long")
    max_bypass_s: int = Field(
        300,
        ge=0,
        description="a job that found no room for so long while others were placed has a device kept free for it",
    )
    keep_checkpoints: int = Field(3, ge=1, description="newest checkpoints kept of a job, beside those still needed")
    encoders: int = Field(
        1, ge=1, le=64, description="files turned into tokens at once, each by an actor with the Ray resource `encoder`"
    )
    encode_row_s: float = Field(
        30.0, gt=0, description="seconds of a processor that one row may take; beyond it its file is refused"
    )
    encode_file_s: float = Field(7_200.0, gt=0, description="the same for a whole file")
    encoded_unused_s: int = Field(
        7 * 86_400, ge=3_600, description="encoded rows that no job has needed for so long are deleted"
    )
    leftovers_after_s: int = Field(
        86_400, ge=3_600, description="what a dead attempt or upload left in storage is kept so long"
    )
    max_file_bytes: int = Field(512_000_000, gt=0, description="largest file sent at once")
    max_upload_bytes: int = Field(8 * 2**30, gt=0, description="largest file sent in parts")
    max_validators: int = Field(
        4, ge=1, description="files checked at once, each by a process of its own; one tenant gets half of them"
    )
    validator_memory_bytes: int = Field(
        2**30, ge=2**27, description="address space of such a process; a row that takes more is refused"
    )
    max_live_jobs: int = Field(1_000, ge=1, description="jobs a tenant may have queued or running")
    event_streams_per_key: int = Field(
        100, ge=1, description="event streams that a key may have open in one process of the API"
    )
    event_stream_idle_s: float = Field(
        300, gt=0, description="an event stream without news ends after so long; its client opens it again"
    )
    secrets_key: SecretStr | None = Field(
        None, description="Fernet keys with commas between, the newest first: webhook secrets are stored sealed by them"
    )
    webhook_allow_http: bool = Field(False, description="webhooks may go to http:// URLs; for development")
    webhook_allow_private: bool = Field(False, description="webhooks may go to private and local addresses")

    @field_validator("health_port", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("secrets_key")
    @classmethod
    def _seals(cls, value: SecretStr | None) -> SecretStr | None:
        SecretBox.of(None if value is None else value.get_secret_value())
        return value

    @property
    def mlflow_address(self) -> str | None:
        """MLflow as tenants reach it. None: this process was told neither of the two, and links would mislead."""
        told = self.mlflow_public_url or (self.mlflow_uri if "mlflow_uri" in self.model_fields_set else None)
        return None if told is None else public_address(told)

    @property
    def secret_box(self) -> SecretBox:
        """What seals secrets that have to be known again."""
        return SecretBox.of(None if self.secrets_key is None else self.secrets_key.get_secret_value())

    @property
    def egress_policy(self) -> EgressPolicy:
        """Where webhooks may go."""
        return EgressPolicy(self.webhook_allow_http, self.webhook_allow_private)

    @property
    def encode_limits(self) -> EncodeLimits:
        """How long encoding may take."""
        return EncodeLimits(row_s=self.encode_row_s, file_s=self.encode_file_s)

    @model_validator(mode="after")
    def _lease_outlives_three_passes(self) -> Self:
        if self.loop_interval_s * 3 > self.lease_ttl_s:
            raise ValueError(
                f"loop_interval_s {self.loop_interval_s} x 3 must not exceed lease_ttl_s {self.lease_ttl_s}"
            )
        if self.orchestrator_timeout_s < self.lease_ttl_s + self.role_ttl_s:
            raise ValueError(
                f"orchestrator_timeout_s {self.orchestrator_timeout_s} must be at least "
                f"lease_ttl_s {self.lease_ttl_s} + role_ttl_s {self.role_ttl_s}: hosts must outlast "
                "a change of orchestrators"
            )
        return self
