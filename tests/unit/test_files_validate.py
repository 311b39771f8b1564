"""The streaming validator: every bad line, whatever the size of the chunks it arrives in."""

import io
import json

import pytest

from orchestrator.files.validate import Findings, check_file
from workers.contract.rows import DatasetFormat
from workers.formats.lines import LineCutter

CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
PAIR = {"prompt": "q", "completion": "a"}


class Dripping:
    """A stream that gives so many bytes at a time."""

    def __init__(self, content: bytes, chunk: int) -> None:
        self._stream = io.BytesIO(content)
        self._chunk = chunk

    def read(self, size: int, /) -> bytes:
        return self._stream.read(min(size, self._chunk))


def check(content: bytes, chunk: int = 1 << 20) -> Findings:
    return check_file(Dripping(content, chunk))


def lines(*rows: object) -> bytes:
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


def found(content: bytes) -> list[tuple[int, str | None, str]]:
    return [(issue.line, issue.field, issue.code) for issue in check(content).issues]


@pytest.mark.parametrize(
    ("row", "format"),
    [
        (CHAT, DatasetFormat.CHAT),
        (PAIR, DatasetFormat.PROMPT_COMPLETION),
        ({"text": "t"}, DatasetFormat.TEXT),
    ],
)
def test_each_format_is_recognised(row: object, format: DatasetFormat) -> None:
    findings = check(lines(row, row))
    assert (findings.format, findings.rows, findings.issue_count, findings.status_details) == (format, 2, 0, None)


def test_a_mark_at_the_start_blank_lines_and_crlf_are_tolerated() -> None:
    content = b"\xef\xbb\xbf" + json.dumps(PAIR).encode() + b"\r\n\r\n   \n" + json.dumps(PAIR).encode() + b"\r\n"
    findings = check(content)
    assert (findings.rows, findings.issues) == (2, [])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf\n", b"  \r\n"])
def test_a_file_without_rows_is_an_error(content: bytes) -> None:
    findings = check(content)
    assert [issue.code for issue in findings.issues] == ["empty_file"]
    assert findings.status_details == "Invalid file format. Line 1: the file has no rows"


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        (b"{", None, "invalid_json"),
        (b"[1]", None, "not_an_object"),
        (b'"words"', None, "not_an_object"),
        (b'{"text": NaN}', None, "invalid_json"),
        (b'{"text": ' + b"[" * 100_000, None, "invalid_json"),
        (b'{"text": ' + b"9" * 5_000 + b"}", None, "invalid_json"),
        (b'{"text": "\xff"}', None, "not_utf8"),
        (b'{"text": "\\ud800"}', "text", "string_unicode"),
        ({"colour": "x"}, None, "unknown_format"),
        ({"text": ""}, "text", "string_too_short"),
        ({"prompt": "q"}, "completion", "missing"),
    ],
)
def test_each_kind_of_bad_line_has_its_code(row: object, field: str | None, code: str) -> None:
    assert found(lines(row)) == [(1, field, code)]


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ([{"role": "robot", "content": "x"}], "messages.0.role"),
        ([{"role": "user", "content": "x"}], None),
        ([{"role": "user"}, {"role": "assistant", "content": "a"}], "messages.0"),
        ([{"role": "assistant", "content": "a", "weight": 0}], None),
        ([{"role": "assistant", "content": "a", "weight": 0.25}], "ok"),
        ([{"role": "user", "content": "q", "weight": 0}, {"role": "assistant", "content": "a"}], "ok"),
        ([{"role": "assistant", "content": "a", "weight": 2}], "messages.0.weight"),
        ([{"role": "assistant", "content": "a", "weight": -0.5}], "messages.0.weight"),
        ([{"role": "assistant", "content": "a", "weight": "1"}], "messages.0.weight"),
    ],
)
def test_a_bad_chat_names_the_message_and_field(messages: object, field: str | None) -> None:
    assert [f for _, f, _ in found(lines({"messages": messages}))] == ([] if field == "ok" else [field])


def test_one_file_holds_one_format() -> None:
    findings = check(lines(CHAT, PAIR, CHAT))
    assert [(issue.line, issue.code) for issue in findings.issues] == [(2, "mixed_formats")]
    assert "Got chat on line 1 and prompt_completion here" in findings.issues[0].message


def test_all_bad_lines_are_counted_and_the_first_is_quoted() -> None:
    findings = check(lines(PAIR, *[b"x"] * 1_005))
    assert findings.issue_count == len(findings.issues) == 1_005
    assert findings.status_details is not None
    assert findings.status_details.startswith("Invalid file format. Line 2: not valid JSON")
    assert findings.status_details.endswith("(and 1004 more)")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_the_size_of_chunks_changes_nothing(chunk: int) -> None:
    content = b"\xef\xbb\xbf" + lines(CHAT, b"bad", "é", CHAT) + b"\n"
    assert check(content, chunk) == check(content)


def test_an_overlong_line_is_reported_and_not_kept() -> None:
    cutter = LineCutter(max_line_bytes=4)
    cut = [*cutter.feed(b"1234\n12345"), *cutter.feed(b"6\nab"), *cutter.finish()]
    assert [(line.number, line.content) for line in cut] == [(1, b"1234"), (2, None), (3, b"ab")]


def test_field_names_of_tenants_are_made_storable() -> None:
    (note,) = check(lines(b'{"text": "t", "a\\u0000b": 1}')).notes
    assert note.message == "the key a�b means nothing here and is ignored"
