"""The golden suite: every chat template of `trl` by every kind of conversation. See `tests.training.golden`."""

from collections.abc import Iterator

import pytest

from tests.builders.families import PARTS_ONLY, families, family_tokenizer
from tests.training.golden.cases import CASES
from tests.training.golden.outcome import Outcome, ends_open, trained_text, word
from tests.training.golden.right import DAY, DROPPED, dotted, render, rendered, right
from tests.training.golden.seen import encoded, seen
from tests.training.golden.table import documented, markdown
from workers.contract.spec import OnDropped, SpecialTokens

CELLS = [(family, case) for family in families() for case in CASES]
ROLES_OF_OTHERS = ("system", "developer", "user", "tool")


@pytest.mark.parametrize(("family", "case"), CELLS)
def test_a_row_becomes_exactly_the_right_tokens_or_is_refused_with_the_right_code(family: str, case: str) -> None:
    became, must = seen(family, case), right(family, case)
    assert word(family, became) == word(family, must)
    if must.code is None:
        assert trained_text(family, became) == trained_text(family, must)
        assert _text(family, became) == _text(family, must)
    assert became == must


def test_the_documented_table_is_the_printed_one() -> None:
    assert documented() == markdown(seen), "`make golden-table` writes it anew"


def test_every_family_of_the_library_is_covered() -> None:
    assert len(set(families()) - PARTS_ONLY) >= 35
    assert len(CELLS) == len(families()) * len(CASES)


def test_templates_that_read_parts_alone_refuse_every_text() -> None:
    assert {right(family, case).code for family in PARTS_ONLY for case in CASES} == {
        "chat_template",
        "dropped_by_template",
    }


@pytest.mark.parametrize(("family", "printed"), [("llama3_2", "03 Feb 2031"), ("gptoss", "2031-02-03")])
def test_a_template_that_prints_a_date_prints_the_day_of_the_job(family: str, printed: str) -> None:
    assert (DAY.year, DAY.month, DAY.day) == (2031, 2, 3)
    assert printed in _text(family, seen(family, "single turn"))


@pytest.mark.parametrize("family", families())
def test_on_request_a_row_is_trained_without_what_the_template_leaves_out_and_says_what(family: str) -> None:
    for case in CASES:
        rendering = rendered(family, case)
        if right(family, case).code != DROPPED or rendering is None or family in PARTS_ONLY:
            continue
        became = encoded(family, CASES[case], on_dropped=OnDropped.WARN)
        assert became.code is None, case
        assert list(became.ids)[: len(rendering.ids)] == rendering.ids, case
        assert family == "glm4moe" or len(became.ids) == len(rendering.ids), case
        assert any(became.weights), case
        for path in map(dotted, rendering.lost):
            assert any(_within(path, named) or _within(named, path) for named in became.noted), (case, path)


@pytest.mark.parametrize("family", sorted(set(families()) - PARTS_ONLY))
def test_control_tokens_that_a_user_types_are_text_unless_asked(family: str) -> None:
    typed = " ".join(families()[family].specials)
    row = {"messages": [{"role": "user", "content": f"Say {typed}"}, {"role": "assistant", "content": "No."}]}
    plain, parsed = encoded(family, row), encoded(family, row, special_tokens=SpecialTokens.PARSE)
    stock = families()[family].stock
    stop = "<|user|>" if family == "glm4moe" else ""  # the header of the next message, which nobody renders
    assert _text(family, parsed) == _text(family, plain) == render(family, stock, row, tokenize=False) + stop
    assert list(parsed.ids)[: -1 if stop else None] == render(family, stock, row)
    control = set(family_tokenizer(family).all_special_ids)
    harmless = {"messages": [{"role": "user", "content": "Say"}, row["messages"][1]]}
    expected = [token for token in render(family, stock, harmless) if token in control]
    assert [token for token in plain.ids if token in control][: len(expected)] == expected
    assert len([token for token in plain.ids if token in control]) == len(expected) + bool(stop)


# What is right is found by rules; these are the rules' own checks, straight from the rows.


@pytest.mark.parametrize("family", families())
def test_what_is_right_trains_all_that_the_assistant_says_and_nothing_that_others_say(family: str) -> None:
    for case, must in _trained_cells(family):
        trained = "~".join(trained_text(family, must))
        for message in CASES[case]["messages"]:
            said = message["content"].strip() if message["content"] else ""
            if message["role"] in ROLES_OF_OTHERS or message.get("weight") == 0:
                assert said not in trained, case
            else:
                assert said in trained, case
            for call in message.get("tool_calls", ()):
                assert call["function"]["name"] in trained, case


@pytest.mark.parametrize("family", families())
def test_what_is_right_ends_every_answer_with_a_token_that_stops(family: str) -> None:
    assert not {case for case, must in _trained_cells(family) if ends_open(family, must)}
    specials = families()[family].specials
    for case, must in _trained_cells(family):
        for run in trained_text(family, must)[:-1]:
            assert run.rstrip().endswith(specials), case


def _trained_cells(family: str) -> Iterator[tuple[str, Outcome]]:
    return ((case, right(family, case)) for case in CASES if right(family, case).code is None)


def _within(inner: str, outer: str) -> bool:
    return f"{inner}.".startswith(f"{outer}.")


def _text(family: str, outcome: Outcome) -> str:
    return str(family_tokenizer(family).decode(list(outcome.ids), clean_up_tokenization_spaces=False))
