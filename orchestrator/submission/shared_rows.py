"""Which rows of a validation file are in the training file too."""

from collections.abc import Iterator
from contextlib import closing

from orchestrator.storage.objects import open_chunks, read_lines
from workers.contract.files import Container
from workers.contract.spec import DatasetRef, ExtraKeys
from workers.formats.reading import FileReading


def shared_rows(training: DatasetRef, validation: DatasetRef | None) -> list[int]:
    """The numbers of the validation file's shared rows. Raises: StorageDown, StorageMissing."""
    if validation is None:
        next(open_chunks(training.uri), None)
        return []
    rows = _lines if _is_plain(training) and _is_plain(validation) else _rows
    seen = {hash(row) for _, row in rows(validation)}
    suspects = {row for _, row in rows(training) if hash(row) in seen}
    return [number for number, row in rows(validation) if row in suspects]


def _is_plain(file: DatasetRef) -> bool:
    """Whether a line of its bytes is a row as its format has it, so that comparing lines is enough."""
    if file.container is not Container.JSONL or file.shape not in {None, file.format.value}:
        return False
    with closing(open_chunks(file.uri)) as chunks:
        return next(chunks, b"").lstrip().startswith(b"{")


def _lines(file: DatasetRef) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(read_lines(file.uri), start=1):
        if stripped := line.strip():
            yield number, stripped


def _rows(file: DatasetRef) -> Iterator[tuple[int, bytes]]:
    """Every row as its model has it: the same, whatever form of file it is in.

    A process with little memory has read the file before, so it is safe to read here.
    """
    with closing(_Content(file.uri)) as content:
        for checked in FileReading.of(content, file, ExtraKeys.IGNORE).rows():
            if checked.row is not None:
                yield checked.number, checked.row.model_dump_json(exclude_none=True).encode()


class _Content:
    """The bytes of an object in storage. `read` raises StorageDown."""

    def __init__(self, uri: str) -> None:
        self._chunks = open_chunks(uri)
        self._left = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        found = bytes(self._left[:size])
        self._left = self._left[size:]
        return found

    def close(self) -> None:
        """Read no more."""
        self._chunks.close()
