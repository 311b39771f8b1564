"""Usage requests and responses: time buckets, as in OpenAI's usage reports."""

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, Field


class Bucket(StrEnum):
    """The length of a bucket, aligned to UTC."""

    HOUR = "hour"
    DAY = "day"


class GroupBy(StrEnum):
    """What a bucket's results are grouped by."""

    BASE = "base"
    JOB = "job"
    FLAVOR = "flavor"
    TENANT = "tenant"
    """For admins: a tenant's own usage is all of one tenant."""


class Amounts(BaseModel):
    """Amounts of usage. Tokens exclude padding; seconds are those in which a seat was held and trained."""

    tokens: int
    supervised_tokens: int = Field(description="those that carry loss")
    seat_seconds: float


class UsageResult(BaseModel):
    """Usage in one bucket."""

    object: Literal["usage.result"] = "usage.result"
    key: str | None = Field(description="the base, job, flavor or tenant by `group_by`; null: all together")
    used: Amounts
    billable: Amounts = Field(
        description="`used` minus what attempts lost by the service trained after their last checkpoint"
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
    next_page: str | None = Field(description="`start` of the next page")
