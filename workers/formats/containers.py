"""Finds out what container a stream of bytes is, and opens it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from workers.contract.files import Compression, Container
from workers.formats.conversion import Notes
from workers.formats.csv_table import Header, header_of, records_of_csv
from workers.formats.decompression import Decompressed
from workers.formats.encoding import utf8
from workers.formats.json_array import records_of_array
from workers.formats.lines import RawLine, lines_of
from workers.formats.parquet import records_of_parquet
from workers.formats.record import Record, too_long
from workers.formats.shapes import KNOWN_KEYS
from workers.formats.sniff import HEAD_BYTES, PARQUET, compression_of, refuse_foreign
from workers.formats.stream import ByteSource, Peeked, Unreadable

_DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}
_STARTS_OF_OTHERS: Final = (b"{", *(str(digit).encode() for digit in range(10)), b"-")
"""Of JSON lines, which need not be good ones. A header may begin with a quote."""


@dataclass(frozen=True)
class Opened:
    """A file whose container is known."""

    container: Container
    compression: Compression
    records: Iterator[Record]


def open_container(source: ByteSource, notes: Notes) -> Opened:
    """What the file is, as its bytes say. Raises: Unreadable, also from its records; OSError."""
    head = Peeked(source, HEAD_BYTES)
    compression = compression_of(head.head)
    if compression is not Compression.NONE:
        notes.add("compression", f"the file is compressed with {compression}")
        head = Peeked(Decompressed(head, compression), HEAD_BYTES)
        if compression_of(head.head) is not Compression.NONE:
            raise Unreadable("unsupported_file", "the file is compressed twice; decompress it once")
    if head.head.startswith(PARQUET):
        notes.add("container", "the file is Parquet; each row is one of the table")
        return Opened(Container.PARQUET, compression, records_of_parquet(head, KNOWN_KEYS))
    refuse_foreign(head.head)
    text = Peeked(utf8(head, notes.add), HEAD_BYTES)
    start = text.head.lstrip()
    if start.startswith(b"["):
        notes.add("container", "the file is one JSON array; each row is an item of it")
        return Opened(Container.JSON_ARRAY, compression, records_of_array(text))
    header = None if start.startswith(_STARTS_OF_OTHERS) else _header(start)
    if header is not None:
        named = ", ".join(name for name in header.columns if name)
        notes.add("container", f"the file is CSV, separated by {_DELIMITERS[header.delimiter]}; its columns: {named}")
        return Opened(Container.CSV, compression, records_of_csv(text, header))
    return Opened(Container.JSONL, compression, map(_record, lines_of(text)))


def _header(start: bytes) -> Header | None:
    line = start.splitlines()[0] if start else b""
    try:
        return header_of(line.decode("utf-8"), KNOWN_KEYS)
    except UnicodeDecodeError:
        return None


def _record(line: RawLine) -> Record:
    return too_long(line.number, "line") if line.content is None else Record(line.number, line.content)
