"""Usage as it is asked for and answered: buckets of time, as in OpenAI's usage reports."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field


class Bucket(StrEnum):
    """How long a bucket is. Both begin at whole ones in UTC."""

    HOUR = "hour"
    DAY = "day"


class GroupBy(StrEnum):
    """What one result of a bucket stands for."""

    BASE = "base"
    JOB = "job"
    FLAVOR = "flavor"
    TENANT = "tenant"
    """For admins: a tenant's own usage is all of one tenant."""


class Amounts(BaseModel):
    """How much. Real tokens, padding not counted; seconds in which a seat was held and trained."""

    tokens: int
    supervised_tokens: int = Field(description="those that carry loss")
    seat_seconds: float


class UsageResult(BaseModel):
    """What was used in one bucket."""

    object: Literal["usage.result"] = "usage.result"
    key: str | None = Field(description="the base, job, flavor or tenant that `group_by` names; null: all together")
    used: Amounts
    billable: Amounts = Field(
        description="`used` less what an attempt trained after its last checkpoint when the service lost it"
    )


class UsageBucket(BaseModel):
    """One hour or one day."""

    object: Literal["bucket"] = "bucket"
    start_time: int = Field(description="Unix seconds, inclusive")
    end_time: int = Field(description="Unix seconds, exclusive")
    results: list[UsageResult]


class UsagePage(BaseModel):
    """Buckets in order of time, empty ones too."""

    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: bool
    next_page: str | None = Field(description="pass it as `start` to go on")
