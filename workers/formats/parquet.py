"""Parquet: a record for each row, batch by batch, of the columns that some shape knows."""

import tempfile
from collections.abc import Iterator
from typing import IO, Any, Final

from workers.contract.row_check import MAX_ROW_BYTES
from workers.formats.csv_table import STRUCTURED, read_cells
from workers.formats.decompression import MAX_UNPACKED_BYTES
from workers.formats.record import Record, too_long
from workers.formats.stream import CHUNK_BYTES, ByteSource, Unreadable

_BATCH_ROWS: Final = 64
"""Rows as large as allowed then take half of what a validator may use."""
_MAX_THRIFT_BYTES: Final = 16 * 2**20
IGNORED: Final = "(not read)"
"""Stands for the value of a column that no shape knows."""


def records_of_parquet(source: ByteSource, known: frozenset[str]) -> Iterator[Record]:
    """A record for each row. It is read from a temporary file without a name. Raises: Unreadable, OSError."""
    with tempfile.TemporaryFile(prefix="orchard-parquet-") as file:
        while chunk := source.read(CHUNK_BYTES):
            file.write(chunk)
        file.seek(0)
        yield from _records(file, known)


def _records(file: IO[bytes], known: frozenset[str]) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    number = size = 0
    try:
        table = parquet.ParquetFile(
            file, pre_buffer=False, thrift_string_size_limit=_MAX_THRIFT_BYTES, page_checksum_verification=False
        )
        names = table.schema_arrow.names
        wanted = [name for name in names if name in known]
        ignored = dict.fromkeys((name for name in names if name not in known), IGNORED)
        for batch in table.iter_batches(_BATCH_ROWS, columns=wanted, use_threads=False) if wanted else ():
            for values in batch.to_pylist():
                number += 1
                row = {name: _without_nulls(value) for name, value in values.items()}
                bytes_of_row = _size(row)
                size += bytes_of_row
                if size > MAX_UNPACKED_BYTES:
                    message = f"the rows up to here have more than {MAX_UNPACKED_BYTES:,} bytes; split the file"
                    raise Unreadable("unpacked_too_large", message, number)
                yield too_long(number, "row") if bytes_of_row > MAX_ROW_BYTES else _record(number, row | ignored)
        if not wanted and table.metadata.num_rows:
            yield _record(1, ignored)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, MemoryError):
            raise
        message = f"the Parquet file is damaged or uses what cannot be read ({type(error).__name__}); write it again"
        raise Unreadable("damaged_file", message, number + 1) from error


def _record(number: int, row: dict[str, Any]) -> Record:
    """Lists and conversations are often kept as JSON text, as in CSV."""
    texts = [(name, value) for name, value in row.items() if name in STRUCTURED and isinstance(value, str)]
    if not texts:
        return Record(number, row=row)
    read = read_cells(number, texts)
    return read if read.row is None else Record(number, row=row | read.row)


def _without_nulls(value: Any) -> Any:
    """Every struct within a row has all fields of its column's type; null are those that the row did not have."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return sum(len(name) + _size(item) for name, item in value.items())
    if isinstance(value, list):
        return 2 + sum(map(_size, value))
    return len(value) if isinstance(value, str | bytes) else 8
