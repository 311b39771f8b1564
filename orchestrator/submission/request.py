"""The body of a submission: OpenAI's fields, and Orchard's optional ones under `x_orchard`.

`submission.resolve` fills in omitted fields, null where it is allowed, and "auto" in OpenAI's hyperparameters.
Unknown fields are refused: a typo is an error and not a silent default. Types are strict: `"8"` is not a number, and
`true` is not 1.
"""

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.text import SingleLine, Text, matching
from workers.contract.base import Quantization
from workers.contract.lanes import Lane
from workers.contract.methods import Lora, Method
from workers.contract.spec import DataOptions, TrainingOptions
from workers.contract.tasks import CausalLm, Task

T = TypeVar("T")
MAX_METADATA_PAIRS = 16


class Request(BaseModel):
    """Base of every part of the body."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _auto_is_none(value: Any) -> Any:
    return None if value == "auto" else value


def _auto(schema: dict[str, Any]) -> tuple[BeforeValidator, WithJsonSchema]:
    return BeforeValidator(_auto_is_none), WithJsonSchema({"anyOf": [schema, {"const": "auto"}, {"type": "null"}]})


_EPOCHS = _auto({"type": "integer", "minimum": 1, "maximum": 50})
_BATCH = _auto({"type": "integer", "minimum": 1, "maximum": 256})
_MULTIPLIER = _auto({"type": "number", "exclusiveMinimum": 0})


class Hyperparameters(Request):
    """OpenAI's three hyperparameters; each a number or "auto"."""

    n_epochs: Annotated[Annotated[StrictInt, Field(ge=1, le=50)] | None, *_EPOCHS] = None
    batch_size: Annotated[Annotated[StrictInt, Field(ge=1, le=256)] | None, *_BATCH] = None
    learning_rate_multiplier: Annotated[
        Annotated[StrictFloat, Field(gt=0, allow_inf_nan=False)] | None, *_MULTIPLIER
    ] = None


class Supervised(Request):
    """The settings of `method.supervised`."""

    hyperparameters: Hyperparameters = Hyperparameters()


class TrainingMethod(Request):
    """OpenAI's `method`. Only supervised fine-tuning is supported."""

    type: Literal["supervised"]
    supervised: Supervised = Supervised()


_MOVED: Final = {
    **dict.fromkeys(Lora.model_fields, "method"),
    **dict.fromkeys(DataOptions.model_fields, "data"),
    **dict.fromkeys(TrainingOptions.model_fields, "training"),
}
"""The section of each option that earlier versions accepted at the top level."""


class Options(Request):
    """Orchard's part of a submission. `workers.contract` defines the job's numbers."""

    task: Task = CausalLm()
    method: Method = Lora()
    lane: Lane | None = Field(None, description="how the job trains; null: fused where the method can, else solo")
    quantization: Quantization | None = Field(None, description="of the frozen base; null: the base's default")
    data: DataOptions = DataOptions()
    training: TrainingOptions = TrainingOptions()
    priority: StrictInt = Field(0, ge=-100, le=100, description="among the tenant's own jobs; higher goes first")
    max_runtime_s: StrictInt = Field(
        86_400, ge=60, le=2_592_000, description="total seconds that all attempts may hold seats"
    )
    max_user_retries: StrictInt = Field(
        0, ge=0, le=10, description="retries from the newest checkpoint after a non-finite loss"
    )

    @model_validator(mode="before")
    @classmethod
    def _flat_spelling_has_moved(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for name in value.keys() - cls.model_fields.keys():
                if place := _MOVED.get(name):
                    raise PydanticCustomError(
                        "moved", "{name} has moved: write x_orchard.{place}.{name}", {"name": name, "place": place}
                    )
        return value


def _few_pairs(pairs: dict[str, str] | None) -> dict[str, str] | None:
    if pairs is not None and len(pairs) > MAX_METADATA_PAIRS:
        raise ValueError(f"has {len(pairs)} pairs; at most {MAX_METADATA_PAIRS} are allowed")
    return pairs


def _no_integrations(value: list[Any] | None) -> None:
    if value:
        raise ValueError("integrations are not offered; leave the field out. Every adapter is in MLflow anyway")


MetadataKey = Annotated[Text, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[Text, Field(max_length=512)]
FileId = Annotated[SingleLine, Field(min_length=1, max_length=64)]
_SUFFIX = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
Suffix = Annotated[
    str,
    Field(min_length=1, max_length=64, json_schema_extra={"pattern": _SUFFIX}),
    matching(_SUFFIX, "letters, digits, '-', '_' and '.', and begin with a letter or digit"),
]


class JobRequest(Request):
    """`POST /v1/fine_tuning/jobs`."""

    model: Annotated[SingleLine, Field(min_length=1, max_length=255, description="id of a base")]
    training_file: FileId
    validation_file: FileId | None = None
    method: TrainingMethod | None = None
    hyperparameters: Hyperparameters | None = Field(None, description="OpenAI's older place for these; use `method`")
    suffix: Suffix | None = Field(
        None, description="becomes part of the tuned model's name: letters, digits, `-`, `_`, `.`"
    )
    seed: StrictInt | None = Field(None, ge=0, le=2**31 - 1)
    metadata: Annotated[dict[MetadataKey, MetadataValue] | None, AfterValidator(_few_pairs)] = None
    integrations: Annotated[list[Any] | None, AfterValidator(_no_integrations)] = None
    x_orchard: Options = Options()

    @model_validator(mode="after")
    def _one_place_for_hyperparameters(self) -> "JobRequest":
        if len({place for place in self._places if place != Hyperparameters()}) > 1:
            raise ValueError("hyperparameters contradicts method.supervised.hyperparameters; leave the former out")
        return self

    @property
    def wanted(self) -> Hyperparameters:
        """The hyperparameters, from either field."""
        return next((place for place in self._places if place != Hyperparameters()), Hyperparameters())

    @property
    def _places(self) -> tuple[Hyperparameters, ...]:
        given = (None if self.method is None else self.method.supervised.hyperparameters, self.hyperparameters)
        return tuple(place for place in given if place is not None)
