"""Request bodies for webhook endpoints."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from orchestrator.text import SingleLine
from orchestrator.webhooks.addresses import MAX_URL_CHARS
from orchestrator.webhooks.events import EventType


def _once_each(values: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(values))


Name = Annotated[SingleLine, Field(min_length=1, max_length=200)]
Url = Annotated[
    SingleLine,
    Field(min_length=1, max_length=MAX_URL_CHARS, description="https://… on the public internet; no redirects"),
]
EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=32), AfterValidator(_once_each)]


class NewEndpoint(BaseModel):
    """A webhook endpoint to create."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    url: Url
    event_types: EventTypes


class EndpointOptions(BaseModel):
    """Fields that OpenAI does not have."""

    model_config = ConfigDict(extra="forbid")

    enabled: StrictBool = Field(
        description="true: enable it, also after a 410 disabled it; false: send nothing for now"
    )


class EndpointChange(BaseModel):
    """Fields to change. Omitted or null fields stay."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None
    x_orchard: EndpointOptions | None = None

    def columns(self) -> dict[str, Any]:
        """The columns to update."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"x_orchard"})


class Rotation(BaseModel):
    """How to rotate the secret."""

    model_config = ConfigDict(extra="forbid")

    keep_old_secret_active_for_24_hours: StrictBool = Field(
        False, description="sign with both secrets for a day, so that receivers can switch; else only with the new one"
    )


class TestRequest(BaseModel):
    """The event to send as a sample."""

    model_config = ConfigDict(extra="forbid")

    event_type: EventType = EventType.SUCCEEDED
