"""What a preview says of encoded rows."""

import pytest
from transformers import ByT5Tokenizer

from tests.builders.tiny_base import make_tokenizer
from workers.contract.preview import PreviewRow
from workers.contract.rows import RowIssue, TextRow
from workers.data.encode import NOTHING_TO_LEARN, EncodedData, EncodedRow
from workers.data.pieces import pieces
from workers.data.preview import digest, show_row, summarize
from workers.data.reading import ReadRow
from workers.data.tokens import Tokens

TEXTS = ["plain", "héllo 日本 👩‍👩‍👧 ok", "x�y", " two  spaces ", "<|im_start|>user\nhi<|im_end|>\n", "\x80\xff"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("tokenizer", [make_tokenizer(), ByT5Tokenizer()])
def test_pieces_join_to_the_text_and_no_character_is_cut(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    texts = pieces(tokenizer, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == tokenizer.decode(ids) == text


def test_neighboring_tokens_of_one_weight_are_one_run_and_the_first_token_is_never_trained() -> None:
    tokenizer = make_tokenizer()
    ids = tokenizer("abcdef")["input_ids"]
    row = show_row(
        tokenizer,
        ReadRow(3, TextRow(text="abcdef")),
        Tokens(ids, [1, 0, 0.5, 0.5, 1, 1], ("messages.1.name",)),
        max_seq_len=5,
    )
    assert [(run.text, run.weight) for run in row.runs] == [("ab", 0), ("cd", 0.5), ("e", 1)]
    assert [token for run in row.runs for token in run.ids] == ids[:5]
    assert (row.tokens, row.trained_tokens, row.truncated_to, row.dropped) == (6, 3, 5, ("messages.1.name",))


def test_a_summary_counts_lengths_by_nearest_rank_and_rows_that_an_earlier_row_has() -> None:
    rows = [EncodedRow.of(n, [1] * n, [0.0] + [1.0] * (n - 1)) for n in range(1, 21)]
    rows.append(EncodedRow.of(21, [1] * 20, [0.0] + [1.0] * 19))
    rows.append(EncodedRow.of(22, [1] * 20, [0.0] * 19 + [1.0]))  # other weights, another row
    nothing = [RowIssue(line=n, code=code, message="no") for n, code in ((23, NOTHING_TO_LEARN), (24, "too_long"))]
    summary = summarize(EncodedData(tuple(rows), truncated=2, dropped=3, issues=nothing))
    assert (summary.rows, summary.tokens, summary.duplicates) == (22, 210 + 40, 1)
    assert summary.trained_tokens == 190 + 19 + 1
    assert summary.lengths is not None
    assert (summary.lengths.p50, summary.lengths.p95, summary.lengths.max) == (11, 20, 20)
    assert (summary.truncated, summary.too_long, summary.nothing_to_learn) == (2, 3, 1)


def test_rows_of_two_files_are_the_same_if_tokens_and_weights_are() -> None:
    one, other = EncodedRow.of(1, [1, 2], [0.0, 1.0]), EncodedRow.of(9, [1, 2], [0.5, 1.0])
    assert digest(one) == digest(other), "nothing predicts the first token"
    assert digest(one) != digest(EncodedRow.of(1, [1, 2], [0.0, 0.5]))
    assert digest(one) != digest(EncodedRow.of(1, [1, 3], [0.0, 1.0]))


def test_a_row_that_the_file_has_otherwise_is_shown_as_it_is_trained() -> None:
    read = ReadRow(1, TextRow(text="abc"), is_as_sent=False)
    row = show_row(make_tokenizer(), read, Tokens([5, 6], [1, 1]), max_seq_len=5)
    assert row.converted == '{"text":"abc"}'


class Speechless:
    """A tokenizer that cannot say what a token of its own is."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def decode(self, ids: list[int], **_: object) -> object:
        if isinstance(self._answer, Exception):
            raise self._answer
        return str(self._answer) * len(ids)


@pytest.mark.parametrize("answer", [TypeError("NoneType"), "\ud83d", "a\udc00\ud83d"])
def test_what_a_tokenizer_cannot_say_of_its_own_tokens_is_no_reason_against_the_row(answer: object) -> None:
    row = show_row(Speechless(answer), ReadRow(1, TextRow(text="abc")), Tokens([5, 6], [1, 1]), max_seq_len=5)
    assert [token for run in row.runs for token in run.ids] == [5, 6]
    assert "\N{REPLACEMENT CHARACTER}" in "".join(run.text for run in row.runs)
    assert PreviewRow.model_validate_json(row.model_dump_json()) == row


def test_a_machine_that_fails_while_a_row_is_shown_is_not_hidden() -> None:
    with pytest.raises(OSError, match="disk"):
        show_row(Speechless(OSError("disk")), ReadRow(1, TextRow(text="abc")), Tokens([5, 6], [1, 1]), max_seq_len=5)


def test_a_weight_that_fp32_cannot_tell_from_nothing_is_shown_as_nothing() -> None:
    row = show_row(make_tokenizer(), ReadRow(1, TextRow(text="abc")), Tokens([5, 6, 7], [1, 1e-60, 1]), max_seq_len=5)
    assert ([run.weight for run in row.runs], row.trained_tokens) == ([0, 1], 1)
