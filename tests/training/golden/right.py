"""What the encoder must make of a case on a family: found without the encoder.

Ids come from the stock template, the trained tokens from trl's training template where it renders the same text, else
from `by_hand.yaml`. What vanishes is found by planting a word of its own in each part of the row and looking which
words the stock template prints.
"""

import copy
import json
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import transformers.utils.chat_template_utils as template_engine
from jinja2.exceptions import TemplateError

from tests.builders.families import Family, families, family_tokenizer
from tests.training.golden.cases import CASES, Row
from tests.training.golden.outcome import Outcome
from tests.training.golden.spans import by_hand, trained_by, weighted

DAY: Final = date(2031, 2, 3)
"""The day of the job that the row belongs to, for templates that print one. Not today."""

_MARKED: Final = {"return_dict": True, "return_assistant_tokens_mask": True}
REJECTED, DROPPED = "chat_template", "dropped_by_template"
Path = tuple[str | int, ...]


@cache
def right(family: str, case: str) -> Outcome:
    """What is right for this cell. Raises: LookupError, where a cell's spans must be written by hand and are not."""
    rendering = rendered(family, case)
    if rendering is None:
        return Outcome(code=REJECTED)
    noted = {path for path in rendering.lost if _is_noted(CASES[case], path)}
    if rendering.lost != noted:
        return Outcome(code=DROPPED)
    learned = _learned(families()[family], case, rendering.ids)
    if learned is None:
        return Outcome(code=REJECTED)
    ids, weights = learned
    return Outcome(ids=tuple(ids), weights=weights, noted=frozenset(map(dotted, noted)))


class Rendering(NamedTuple):
    """What the stock template makes of a row."""

    ids: list[int]
    lost: frozenset[Path]
    """Parts of the row that it does not print."""


@cache
def rendered(family: str, case: str) -> Rendering | None:
    """The stock template's rendering: of arguments as objects, or as text where it takes them so. None: it rejects."""
    for as_text in (False, True):
        try:
            ids = render(family, families()[family].stock, _conversation(CASES[case], arguments_as_text=as_text))
            lost = frozenset(_lost(families()[family], CASES[case], arguments_as_text=as_text))
        except (TemplateError, TypeError):
            continue
        return Rendering(ids, lost)
    return None


def dotted(path: Path) -> str:
    """A part's name in reports."""
    return ".".join(map(str, path))


def render(family: str, template: str, row: Row, **options: Any) -> Any:
    """`apply_chat_template` on the job's day: token ids, unless `options` say otherwise."""
    arguments = {"tokenize": True, "return_dict": False} | options
    with patch.object(template_engine, "datetime", _OnTheDay):
        return family_tokenizer(family).apply_chat_template(
            row["messages"], tools=row.get("tools"), chat_template=template, **arguments
        )


class _OnTheDay(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> "_OnTheDay":
        return cls(DAY.year, DAY.month, DAY.day, tzinfo=tz)


def _conversation(row: Row, *, arguments_as_text: bool) -> Row:
    """The row as transformers documents it: arguments are objects (a few templates want their text), content a text."""
    row = copy.deepcopy(row)
    for message in row["messages"]:
        message.pop("weight", None)
        message["content"] = message["content"] or ""
        for call in message.get("tool_calls", ()):
            if not arguments_as_text:
                call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return row


def _learned(family: Family, case: str, ids: list[int]) -> tuple[list[int], tuple[float, ...]] | None:
    """[T] ids and what each counts for. None: an answer is not in a turn of the assistant."""
    found = _library_mask(family, _conversation(CASES[case], arguments_as_text=False), ids)
    if found is None:
        mask = by_hand(family.name, case, ids)
        if mask is None:
            return None
        found = ids, mask
    messages = CASES[case]["messages"]
    weights = [message.get("weight", 1) for message in messages if message["role"] == "assistant"]
    return found[0], weighted(found[1], weights)


def _library_mask(family: Family, conversation: Row, ids: list[int]) -> tuple[list[int], list[int]] | None:
    """Ids and mask of trl's training template; None where it prints another text or leaves a stop token untrained.

    GLM-4-MoE's stop token is the header of the next message. Behind the last answer trl's template alone prints it, and
    without it nothing would teach the model to stop.
    """
    if family.training is None or not stop_is_trained(family):
        return None
    marked = render(family.name, family.training, conversation, **_MARKED)
    same = marked["input_ids"][: len(ids)] == ids and len(marked["input_ids"]) <= len(ids) + (family.name == "glm4moe")
    runs = trained_by(family_tokenizer(family.name), marked["input_ids"], marked["assistant_masks"])
    stops = all(run.rstrip().endswith(family.specials) for run in runs)
    return (list(marked["input_ids"]), list(marked["assistant_masks"])) if same and stops else None


@cache
def stop_is_trained(family: Family) -> bool:
    """Whether the training template ends an answer that a user's turn follows with a control token: trl's own check."""
    turns = [{"role": role, "content": "dummy"} for role in ("user", "assistant", "user")]
    marked = render(family.name, str(family.training), {"messages": turns}, **_MARKED)
    run = trained_by(family_tokenizer(family.name), marked["input_ids"], marked["assistant_masks"])[-1]
    return run.rstrip().endswith(family.specials)


def _lost(family: Family, row: Row, *, arguments_as_text: bool) -> Iterator[Path]:
    """Parts of the row whose planted word the stock template does not print."""
    planted = copy.deepcopy(row)
    words: dict[Path, str] = {}
    for path in _parts(row):
        words[path] = f"Qx{len(words)}z"
        _plant(planted, path, words[path])
    text = render(
        family.name, family.stock, _conversation(planted, arguments_as_text=arguments_as_text), tokenize=False
    )
    yield from (path for path, word in words.items() if word not in text)


def _parts(row: Row) -> Iterator[Path]:
    """Every part of a row that says something. Last those inside of arguments, which are JSON in a string."""
    for index, message in enumerate(row["messages"]):
        for key in ("content", "reasoning_content", "name"):
            if message.get(key):
                yield "messages", index, key
        for number, _ in enumerate(message.get("tool_calls", ())):
            yield "messages", index, "tool_calls", number, "function", "name"
            yield "messages", index, "tool_calls", number, "function", "arguments"
    for index, _ in enumerate(row.get("tools", ())):
        yield "tools", index, "function", "name"
        yield "tools", index, "function", "description"
        yield "tools", index, "function", "parameters"


def _plant(row: Row, path: Path, word: str) -> None:
    """Put `word` in place of a part; of arguments and parameters, in place of the values and descriptions in it."""
    inside: Any = row
    for step in path[:-1]:
        inside = inside[step]
    match path[-1]:
        case "arguments":
            inside["arguments"] = json.dumps(dict.fromkeys(json.loads(inside["arguments"]), word))
        case "parameters":
            for parameter in inside["parameters"]["properties"].values():
                parameter["description"] = word
        case key:
            inside[key] = word


def _is_noted(row: Row, path: Path) -> bool:
    """Names, and reasoning before the last assistant message: templates leave them out by design."""
    if path[-1] == "name":
        return len(path) == 3
    last = max(index for index, message in enumerate(row["messages"]) if message["role"] == "assistant")
    return path[-1] == "reasoning_content" and path[1] != last
