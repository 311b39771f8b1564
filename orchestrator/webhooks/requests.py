"""What tenants say about webhook endpoints."""

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
    """A webhook endpoint to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    url: Url
    event_types: EventTypes


class EndpointOptions(BaseModel):
    """What OpenAI has no word for."""

    model_config = ConfigDict(extra="forbid")

    enabled: StrictBool = Field(
        description="true: send again, after a 410 switched it off; false: send nothing for now"
    )


class EndpointChange(BaseModel):
    """What is to be different. What is left out, or null, stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    url: Url | None = None
    event_types: EventTypes | None = None
    x_orchard: EndpointOptions | None = None

    def columns(self) -> dict[str, Any]:
        """The columns of the row that are to have another value."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"x_orchard"})


class Rotation(BaseModel):
    """How to change the secret."""

    model_config = ConfigDict(extra="forbid")

    keep_old_secret_active_for_24_hours: StrictBool = Field(
        False, description="sign with both for a day, so that receivers can change over; else only with the new one"
    )


class TestRequest(BaseModel):
    """Which event to send as a sample."""

    model_config = ConfigDict(extra="forbid")

    event_type: EventType = EventType.SUCCEEDED
