"""The same rows come of every container; damaged, foreign and bomb-like files are refused with what to do."""

import gzip
import io
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.builders.file_forms import CONTAINERS, as_array, as_csv, as_jsonl, as_parquet, zstd
from workers.contract.files import Compression
from workers.contract.row_check import MAX_ROW_BYTES
from workers.formats import decompression, parquet
from workers.formats.reading import Checked, FileReading

ROWS = [{"question": f"wie\n“{n}”, \\ ; viel?", "answer": f"\té{n} 😀"} for n in range(5)]


def rows_of(content: bytes) -> tuple[FileReading, list[Checked]]:
    reading = FileReading(io.BytesIO(content))
    return reading, list(reading.rows())


def told(content: bytes) -> list[tuple[int, str | None, str]]:
    return [(issue.line, issue.field, issue.code) for each in rows_of(content)[1] for issue in each.issues]


def message(content: bytes) -> str:
    return rows_of(content)[1][-1].issues[0].message


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_rows_come_of_every_container(name: str) -> None:
    write, container = CONTAINERS[name]
    reading, rows = rows_of(write(ROWS))
    assert reading.container is container
    assert [each.number for each in rows] == [1, 2, 3, 4, 5]
    assert [each.row.messages[0].content for each in rows] == [row["question"] for row in ROWS]
    assert [each.row.messages[1].content for each in rows] == [row["answer"] for row in ROWS]
    expected = Compression.GZIP if name.startswith("gzip") else Compression.NONE
    assert reading.compression is (Compression.ZSTD if name.startswith("zstd") else expected)


def test_what_was_recognised_is_noted() -> None:
    reading, _ = rows_of(gzip.compress(as_csv(ROWS, ";")))
    assert [note.message for note in reading.notes][:2] == [
        "the file is compressed with gzip",
        "the file is CSV, separated by semicolons; its columns: question, answer",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), ["old Office document", "save the sheet as CSV"]),
        (b"BZh91AY&SY" + bytes(20), ["bzip2", "unpack it"]),
        (b"\xfd7zXZ\x00" + bytes(20), ["xz", "gzip or zstd"]),
        (b"ARROW1\x00\x00" + bytes(20), ["Arrow", "write it as Parquet"]),
        (bytes(257) + b"ustar\x00" + bytes(300), ["tar archive", "unpack it"]),
        (b"%PDF-1.7\n", ["PDF", "rows of JSONL"]),
    ],
)
def test_a_foreign_file_is_named_with_what_to_do(content: bytes, words: list[str]) -> None:
    assert told(content) == [(1, None, "unsupported_file")]
    assert [word for word in words if word not in message(content)] == []


@pytest.mark.parametrize(("member", "words"), [("xl/workbook.xml", "Office document (such as .xlsx)"),
                                               ("train.jsonl", "a zip archive; unpack it")])  # fmt: skip
def test_a_zip_and_what_office_makes_of_it_are_told_apart(member: str, words: str) -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(member, as_jsonl(ROWS))
    assert words in message(sink.getvalue())


@pytest.mark.parametrize(
    ("content", "issue"),
    [
        (gzip.compress(as_jsonl(ROWS))[:-9], (1, None, "damaged_file")),
        (zstd(as_jsonl(ROWS))[:-3], (1, None, "damaged_file")),
        (gzip.compress(gzip.compress(as_jsonl(ROWS))), (1, None, "unsupported_file")),
        (as_parquet(ROWS)[:-20], (1, None, "damaged_file")),
        (b"PAR1" + bytes(50), (1, None, "damaged_file")),
        (as_jsonl(ROWS).decode().encode("utf-16")[:-1], (1, None, "not_utf16")),
        (as_jsonl(ROWS).decode().encode("utf-16-le"), (1, None, "not_utf8")),
    ],
)
def test_a_damaged_file_is_refused_and_what_was_read_of_it_counts_for_nothing(
    content: bytes, issue: tuple[int, str | None, str]
) -> None:
    assert told(content)[-1] == issue


@pytest.mark.parametrize(
    ("content", "issues"),
    [
        (b'[{"text": "a"}, 5, {"text": 6}, []]', [(2, None, "not_an_object"), (3, "text", "string_type"),
                                                   (4, None, "not_an_object")]),
        (b'[{"text": "a"},\n {"text": }, {"text": "b"}]', [(2, None, "invalid_json")]),
        (b'[{"text": "a"} {"text": "b"}]', [(1, None, "invalid_json")]),
        (b'[{"text": "a"},]', [(2, None, "invalid_json")]),
        (b'[{"text": "a"}', [(1, None, "invalid_json")]),
        (b'[{"text": "a', [(1, None, "invalid_json")]),
        (b'[{"text": NaN}]', [(1, None, "invalid_json")]),
        (b'[{"text": "a"}] {}', [(1, None, "invalid_json")]),
        (b'[{"text": "\xff"}]', [(1, None, "not_utf8")]),
        (b'[{"text": "\\ud800"}]', [(1, "text", "string_unicode")]),
        (b"[" * 100_000, [(1, None, "invalid_json")]),
        (b"[" + b"9" * 5_000 + b"]", [(1, None, "invalid_json")]),
        (b"[]", []),
    ],
)  # fmt: skip
def test_an_array_names_the_row_and_ends_where_it_is_no_json(content: bytes, issues: list[Any]) -> None:
    assert told(content) == issues


def test_a_syntax_error_in_an_array_is_told_by_line_and_column() -> None:
    assert message(as_array(ROWS).replace(b'"answer": "\\t\\u00e93', b'"answer": ?"', 1)).endswith(
        "Expecting value (line 16, column 15)"
    )


def test_items_are_read_whole_wherever_the_stream_is_cut() -> None:
    rows = [{"text": "a" * size} for size in (1, 262_000, 262_150, 600_000, 5)]
    for content in (json.dumps(rows).encode(), as_array(rows)):
        assert [len(each.row.text) for each in rows_of(content)[1]] == [len(row["text"]) for row in rows]


def test_a_row_of_an_array_is_no_longer_than_a_line_may_be() -> None:
    long = json.dumps([{"text": "a" * MAX_ROW_BYTES}, {"text": "b"}]).encode()
    endless = b'[{"text": "' + b"a" * 3 * MAX_ROW_BYTES
    assert told(long)[0] == told(endless)[0] == (1, None, "line_too_long")


def test_an_array_of_many_rows_is_never_whole_in_memory() -> None:
    class Endless:
        """Gives 64 MB of rows, of which it holds one."""

        left = 64_000

        def read(self, size: int, /) -> bytes:
            if self.left == 64_000:
                self.left -= 1
                return b'[{"text": "first"}'
            self.left -= 1
            return b',{"text": "' + b"x" * 1_000 + b'"}' if self.left > 0 else (b"]" if self.left == 0 else b"")

    tracemalloc.start()
    rows = sum(checked.row is not None for checked in FileReading(Endless()).rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 63_999
    assert peak < 8_000_000


@pytest.mark.parametrize(
    ("content", "issues"),
    [
        (
            b"question,answer\na,b\nc\n\nd,e,f\n",
            [(2, None, "wrong_number_of_cells"), (3, None, "wrong_number_of_cells")],
        ),
        (b'question,answer\n"a"b,c\nd,e\n', [(1, None, "invalid_csv")]),
        (b'question,answer\nd,e\n"a,b\n', [(2, None, "invalid_csv")]),
        (b"question,answer\na,\n", [(1, "answer", "string_too_short")]),
        (b"question,answer\na,\xe4\n", [(1, None, "not_utf8")]),
        (b"question,question,answer\na,b,c\n", [(1, None, "invalid_csv")]),
        (b"id,colour\n1,red\n2,red\n", [(1, None, "unknown_format")]),
        (b"instruction,output,text\na,b,c\nd,e,f\n", [(1, None, "ambiguous_format")]),
        (b"conversations\n\"[{'from': 'human'}]\"\n", [(1, "conversations", "invalid_json")]),
        (b"prompt,completion,label\na,b,maybe\n", [(1, "label", "bool_type")]),
    ],
)
def test_a_csv_file_names_row_and_column(content: bytes, issues: list[Any]) -> None:
    assert told(content) == issues


def test_an_open_quote_is_found_before_it_takes_all_memory() -> None:
    content = b'question,answer\na,"b\n' + b"x" * 100 * 90_000 + b"\n"
    assert told(content) == [(1, None, "line_too_long")]
    lines = b'question,answer\na,"b\n' + (b"x" * 99 + b"\n") * 90_000
    assert told(lines) == [(1, None, "line_too_long")]


def test_columns_are_known_by_their_names_whatever_their_case_and_space() -> None:
    reading, rows = rows_of(b"\xef\xbb\xbfId; Question ;ANSWER\r\n7;a;b\r\n")
    assert [message.content for message in rows[0].row.messages] == ["a", "b"]
    assert "id" in {note.message.split()[2] for note in reading.notes if note.code == "extra_key"}


def test_the_index_that_pandas_writes_is_no_column() -> None:
    reading, rows = rows_of(b",text\n0,a\n1,b\n")
    assert [each.row.text for each in rows] == ["a", "b"]
    assert [note.code for note in reading.notes] == ["container"]


def test_a_csv_label_is_a_truth_value() -> None:
    _, rows = rows_of(b"prompt,completion,label\na,b,True\na,b,0\n")
    assert [each.row.label for each in rows] == [True, False]


def test_messages_in_a_table_are_json_or_lists_of_structs() -> None:
    chat = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 1}]}]
    text = [{"messages": json.dumps(chat[0]["messages"])}]
    found = [rows_of(content)[1][0].row for content in (as_csv(chat), as_parquet(chat), as_parquet(text))]
    assert found == [rows_of(as_jsonl(chat))[1][0].row] * 3


def test_a_parquet_column_that_nobody_knows_is_not_read() -> None:
    reading, rows = rows_of(as_parquet([{"text": "a", "embedding": [0.5] * 9}, {"text": "b", "embedding": None}]))
    assert [each.row.text for each in rows] == ["a", "b"]
    assert [(note.code, note.rows) for note in reading.notes] == [("container", 1), ("extra_key", 2)]
    assert told(as_parquet([{"embedding": 1}])) == [(1, None, "unknown_format")]


def test_a_parquet_row_names_its_number_and_column() -> None:
    assert told(as_parquet([{"text": "a"}, {"text": None}, {"text": ""}])) == [
        (2, "text", "string_type"), (3, "text", "string_too_short"),
    ]  # fmt: skip
    assert told(as_parquet([{"text": 5}])) == [(1, "text", "string_type")]


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "FREE_BYTES", 2**20)
    line = b'{"text": "' + b" " * 500 + b'x"}\n'
    for bomb in (gzip.compress(line * 20_000), zstd(line * 20_000)):
        assert told(bomb)[-1][2] == "unpacked_too_large"
        assert "compressed bytes become more than" in message(bomb)


def test_a_table_that_repeats_one_value_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", 10**6)
    content = as_parquet([{"text": "x" * 10_000}] * 200)
    assert len(content) < 20_000
    assert told(content) == [(100, None, "unpacked_too_large")]


def test_a_parquet_file_leaves_nothing_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    reading = FileReading(io.BytesIO(as_parquet(ROWS)))
    next(iter(rows := reading.rows()))
    assert list(tmp_path.iterdir()) == []
    rows.close()


def test_an_error_of_the_machine_is_not_the_files() -> None:
    class Broken:
        is_read = False

        def read(self, size: int, /) -> bytes:
            if not self.is_read:
                self.is_read = True
                return gzip.compress(as_jsonl(ROWS))[:40]
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(FileReading(Broken()).rows())
