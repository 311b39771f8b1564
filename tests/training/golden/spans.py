"""Masks as readable text: the runs of trained tokens, and those written by hand."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.builders.families import family_tokenizer


def runs(mask: Sequence[float]) -> list[range]:
    """Where the mask is not zero, as ranges of neighboring tokens."""
    found: list[range] = []
    for index, flag in enumerate(mask):
        if flag and found and found[-1].stop == index:
            found[-1] = range(found[-1].start, index + 1)
        elif flag:
            found.append(range(index, index + 1))
    return found


def trained_by(tokenizer: Any, ids: Sequence[int], mask: Sequence[float]) -> list[str]:
    """The text of each run of trained tokens."""
    return [tokenizer.decode([ids[index] for index in run]) for run in runs(mask)]


def weighted(mask: Sequence[int], weights: Sequence[float]) -> tuple[float, ...]:
    """The mask with each run counted by the weight of its assistant message."""
    found = runs(mask)
    if all(weight == 1 for weight in weights):
        return tuple(float(flag) for flag in mask)
    assert len(found) == len(weights), "each assistant message has one run"
    by_token = {index: float(weight) for run, weight in zip(found, weights, strict=True) for index in run}
    return tuple(by_token.get(index, 0.0) for index in range(len(mask)))


def by_hand(family: str, case: str, ids: Sequence[int]) -> list[int] | None:
    """The mask of the spans in `by_hand.yaml`, each found behind one of the family's headers. None: to be refused.

    Raises: LookupError, where none are written or the rendering does not have them.
    """
    spans, headers = _written(family, case)
    if spans is None:
        return None
    tokenizer = family_tokenizer(family)
    ends = [len(tokenizer.decode(list(ids[: index + 1]))) for index in range(len(ids))]
    text, place = tokenizer.decode(list(ids)), 0
    mask = [0] * len(ids)
    for span in spans:
        starts = [
            place + text[place:].index(header + span) + len(header)
            for header in headers
            if header + span in text[place:]
        ]
        if not starts:
            raise LookupError(f"{family} x {case}: {span!r} does not follow {headers} in {text!r}")
        start, place = min(starts), min(starts) + len(span)
        mask = [int(flag or start < end <= place) for flag, end in zip(mask, ends, strict=True)]
    if trained_by(tokenizer, ids, mask) != spans:
        raise LookupError(f"{family} x {case}: tokens do not end where {spans} do")
    return mask


def _written(family: str, case: str) -> tuple[list[str] | None, list[str]]:
    for entry in _file():
        if family in entry["families"] and case in entry["cases"]:
            spans = entry["cases"][case]
            return None if spans == "refused" else spans, entry["behind"]
    raise LookupError(f"{family} x {case}: neither trl nor by_hand.yaml say which tokens are trained")


@cache
def _file() -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "by_hand.yaml").read_text("utf-8"))
    return written
