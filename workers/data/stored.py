"""Encoded rows as one safetensors file: written row by row, read through a memory map.

| tensor | type | shape |
|---|---|---|
| `offsets` | I64 | [R + 1]: row r is tokens offsets[r] to offsets[r + 1] |
| `lines` | I32 | [R]: of the file, counted from 1 |
| `input_ids` | I32 | [N] |
| `loss_weights` | F32 | [N] |

The library would hold all tensors in memory to write them, and copy them to read them, so the few bytes of its format
are written here; a test reads them with the library. Equal rows give equal bytes.
"""

import json
import mmap
import struct
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, Final, overload

from workers.contract.encoded import MANIFEST_FILE, ROWS_FILE, EncodedRef
from workers.contract.errors import EncodedRowsLost, StorageMissing
from workers.contract.failpoints import failpoint
from workers.contract.preview import DIGESTS_FILE, PREVIEW_FILE, StoredPreview
from workers.data.encode import EncodedData, EncodedRow
from workers.data.preview import digest
from workers.storage import child, fetch_file, file_sha256, publish_folder, scratch

_TYPES: Final = {"offsets": ("I64", 8), "lines": ("I32", 4), "input_ids": ("I32", 4), "loss_weights": ("F32", 4)}
_LENGTH: Final = struct.Struct("<Q")


def store(data: EncodedData, preview: StoredPreview, uri: str) -> EncodedRef:
    """Write rows and preview below `uri`, which then holds all of it or none. Raises: StorageUnavailable."""
    if sys.byteorder != "little":
        raise AssertionError("safetensors are little-endian, and so must be the machine that maps them")
    with scratch("encoded") as folder:
        path = folder / ROWS_FILE
        write_rows(data.rows, path)
        ref = EncodedRef(
            uri=uri,
            sha256=file_sha256(path),
            bytes=path.stat().st_size,
            rows=len(data.rows),
            tokens=sum(len(row.input_ids) for row in data.rows),
            trained_tokens=data.supervised_tokens,
            truncated_rows=data.truncated,
            dropped_rows=data.dropped,
            left_out=dict(data.left_out),
        )
        _write_preview(data, preview, folder)
        (folder / MANIFEST_FILE).write_bytes(ref.model_dump_json().encode())
        failpoint("encoding.written")
        publish_folder(folder, uri, last=MANIFEST_FILE)
    return ref


def store_preview(data: EncodedData, preview: StoredPreview, uri: str) -> None:
    """Write the preview alone, of a file that is not trained on. Raises: StorageUnavailable."""
    with scratch("preview") as folder:
        _write_preview(data, preview, folder)
        publish_folder(folder, uri, last=PREVIEW_FILE)


def _write_preview(data: EncodedData, preview: StoredPreview, folder: Path) -> None:
    (folder / PREVIEW_FILE).write_bytes(preview.model_dump_json().encode())
    with (folder / DIGESTS_FILE).open("wb") as file:
        file.writelines(map(digest, data.rows))


def fetch(ref: EncodedRef) -> EncodedData:
    """The rows behind `ref`, mapped into memory: the machine keeps what is used, and nobody else sees the file.

    Raises: EncodedRowsLost when they are missing or not what was stored; StorageUnavailable.
    """
    with scratch("encoded") as folder:  # the mapping outlives the file's name
        path = folder / ROWS_FILE
        try:
            fetch_file(child(ref.uri, ROWS_FILE), path)
        except StorageMissing as error:
            raise EncodedRowsLost("the job's encoded rows are missing from storage; they are encoded again") from error
        failpoint("encoded.fetched")
        if file_sha256(path) != ref.sha256:
            raise EncodedRowsLost("the job's encoded rows are damaged in storage; they are encoded again")
        rows = map_rows(path)
    return EncodedData(rows, ref.truncated_rows, ref.dropped_rows, ref.left_out)


def write_rows(rows: Sequence[EncodedRow], path: Path) -> None:
    """Write `rows` as described above."""
    lengths = [len(row.input_ids) for row in rows]
    tokens = sum(lengths)
    header = _header({"offsets": len(rows) + 1, "lines": len(rows), "input_ids": tokens, "loss_weights": tokens})
    with path.open("wb") as file:
        file.write(_LENGTH.pack(len(header)) + header)
        array("q", chain((0,), accumulate(lengths))).tofile(file)
        array("i", (row.line for row in rows)).tofile(file)
        for row in rows:
            file.write(row.input_ids)
        for row in rows:
            file.write(row.loss_weights)


def map_rows(path: Path) -> "StoredRows":
    """The rows of a file that `write_rows` wrote."""
    with path.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    (size,) = _LENGTH.unpack_from(view)
    begin = _LENGTH.size + size
    described: Mapping[str, Any] = json.loads(bytes(view[_LENGTH.size : begin]))

    def tensor(name: str) -> memoryview:
        first, last = described[name]["data_offsets"]
        return view[begin + first : begin + last]

    return StoredRows(
        tensor("offsets").cast("q"),
        tensor("lines").cast("i"),
        tensor("input_ids").cast("i"),
        tensor("loss_weights").cast("f"),
    )


class StoredRows(Sequence[EncodedRow]):
    """Rows in one piece of memory. A row is made when it is asked for, and views that memory."""

    def __init__(
        self,
        offsets: "memoryview[int]",
        lines: "memoryview[int]",
        input_ids: "memoryview[int]",
        loss_weights: "memoryview[float]",
    ) -> None:
        self._offsets, self._lines = offsets, lines
        self._input_ids, self._loss_weights = input_ids, loss_weights

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> EncodedRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[EncodedRow]: ...
    def __getitem__(self, index: int | slice) -> EncodedRow | Sequence[EncodedRow]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        first, last = self._offsets[place], self._offsets[place + 1]
        return EncodedRow(self._lines[place], self._input_ids[first:last], self._loss_weights[first:last])

    def __iter__(self) -> Iterator[EncodedRow]:
        return (self[place] for place in range(len(self)))


def _header(lengths: Mapping[str, int]) -> bytes:
    """The header of safetensors, padded so that the numbers behind it are aligned."""
    described: dict[str, Any] = {}
    end = 0
    for name, (kind, size) in _TYPES.items():
        begin, end = end, end + lengths[name] * size
        described[name] = {"dtype": kind, "shape": [lengths[name]], "data_offsets": [begin, end]}
    text = json.dumps(described).encode()
    return text + b" " * (-len(text) % _LENGTH.size)
