"""Lanes: how a host trains, and which lane a job takes."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Lane(StrEnum):
    """How a host trains its seats. A host has one lane for life."""

    FUSED = "fused"
    """Many seats share every pass of the base."""
    SOLO = "solo"
    """One job owns the host and trains through the stock library of its method."""


class NoLane(ValueError):
    """No lane can train the job as it was asked for."""


@dataclass(frozen=True)
class LaneChoice:
    """The lane of a job, and why it is this one, in words for its owner."""

    lane: Lane
    reason: str


def choose_lane(method: str, offered: Collection[Lane], asked: Lane | None, unfusible: str | None = None) -> LaneChoice:
    """The lane of a job of `method`, which the lanes `offered` can train. Fused wherever it can be. Pure.

    `unfusible`: an option of the job that no fused pass knows. Raises: NoLane when the lane that was `asked` for cannot
    train the job.
    """
    if unfusible is not None and asked is not Lane.SOLO and Lane.FUSED in offered:
        if asked is Lane.FUSED:
            raise NoLane(f"option '{unfusible}' of method '{method}' cannot train in the fused lane; it can in: solo")
        return LaneChoice(Lane.SOLO, f"solo, because option '{unfusible}' of method '{method}' has no fused form")
    if asked is not None:
        if asked not in offered:
            others = ", ".join(sorted(offered))
            raise NoLane(f"method '{method}' cannot train in the {asked} lane; it can in: {others}")
        return LaneChoice(asked, f"{asked}, because the job asked for it")
    if Lane.FUSED in offered:
        return LaneChoice(Lane.FUSED, f"fused, because adapters of method '{method}' share passes of one base")
    return LaneChoice(Lane.SOLO, f"solo, because method '{method}' has no fused form")
