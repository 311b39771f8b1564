"""The pydantic base class of every contract model."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value that rejects unknown fields, so a typo is an error and not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
