"""Whatever the bytes are, they give rows and issues, the same every time and however they arrive."""

import gzip
import io
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders.file_forms import CONTAINERS, PREFERENCES, SHAPES, as_jsonl, as_parquet, zstd
from workers.contract.row_check import MAX_ROW_ISSUES
from workers.contract.spec import ExtraKeys
from workers.formats.reading import Checked, FileReading
from workers.formats.shapes import KNOWN_KEYS, SHAPE_NAMES

quickly = settings(max_examples=150, deadline=None)
EVERY = [row for row, _, _ in (SHAPES | PREFERENCES).values()]
BEGINNINGS = [b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1", b"PK\x03\x04", b"\xff\xfe", b"\xfe\xff", b"[", b"[{",
              b"text\n", b"prompt,completion\n", b"\xff\xfe\x00\x00", b'{"text": "']  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["user", "assistant", "gpt"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["role", "content", "from", "value", "weight", "tool_calls", "function_call", "function", "name", "arguments",
         "messages", "type", "text", "refusal", "id", "thinking"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip
rows = st.dictionaries(st.sampled_from(sorted(KNOWN_KEYS)), values, max_size=5)


def read(content: bytes, wanted: str | None = None, extra: ExtraKeys = ExtraKeys.IGNORE, step: int = 1 << 20) -> Any:
    class Stream(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or step, step))

    reading = FileReading(Stream(content), wanted, extra)
    found = list(reading.rows())
    return found, reading.shape, reading.container, list(reading.notes)


def well_formed(found: list[Checked]) -> None:
    for each in found:
        assert (each.row is None) == bool(each.issues)
        assert each.number >= 1
        assert len(each.issues) <= MAX_ROW_ISSUES


@quickly
@given(beginning=st.sampled_from(BEGINNINGS), rest=st.binary(max_size=300), step=st.integers(1, 40))
def test_any_bytes_give_rows_and_issues_however_they_arrive(beginning: bytes, rest: bytes, step: int) -> None:
    whole = read(beginning + rest)
    well_formed(whole[0])
    assert read(beginning + rest, step=step) == whole


@quickly
@given(wanted=st.none() | st.sampled_from(SHAPE_NAMES), some=st.lists(rows, min_size=1, max_size=3),
       extra=st.sampled_from(ExtraKeys))  # fmt: skip
@example(wanted=None, some=[{"messages": {"role": 1}}], extra=ExtraKeys.ERROR)
def test_any_json_rows_give_rows_and_issues(wanted: str | None, some: list[Any], extra: ExtraKeys) -> None:
    found, *_ = read(as_jsonl(some), wanted, extra)
    well_formed(found)
    assert [each.number for each in found] == list(range(1, len(some) + 1))


@quickly
@given(name=st.sampled_from(sorted(CONTAINERS)), place=st.floats(0, 1), bits=st.integers(1, 255))
def test_a_damaged_file_of_any_container_gives_rows_and_issues(name: str, place: float, bits: int) -> None:
    if "parquet" in name:
        return  # native code that meets damage has a process of its own: `test_validator_pool`
    content = bytearray(CONTAINERS[name][0]([{"question": f"q{n}", "answer": "ä"} for n in range(4)]))
    content[int(place * (len(content) - 1))] ^= bits
    well_formed(read(bytes(content))[0])


@quickly
@given(content=st.binary(max_size=200))
def test_compressed_bytes_are_what_they_were(content: bytes) -> None:
    plain = read(content)[0]
    for packed in (gzip.compress(content), zstd(content)):
        found = read(packed)[0]
        if not any(issue.code == "unsupported_file" for each in found for issue in each.issues):
            assert found == plain


@quickly
@given(row=st.sampled_from(EVERY))
def test_converted_rows_are_rows_that_need_no_conversion(row: dict[str, Any]) -> None:
    (checked,), *_ = read(as_jsonl([row]))
    again = json.loads(checked.row.model_dump_json(exclude_none=True))
    (second,), _, _, notes = read(as_jsonl([again]))
    assert (second.row, second.is_as_sent, notes) == (checked.row, True, [])


def test_parquet_of_the_same_rows_is_the_same_rows() -> None:
    rows = [{"text": f"row {n}"} for n in range(300)]
    for options in ({"row_group_size": 7}, {"compression": "gzip"}, {"data_page_version": "2.0"}):
        found, *_ = read(as_parquet(rows, **options))
        assert [each.row.text for each in found] == [row["text"] for row in rows]
