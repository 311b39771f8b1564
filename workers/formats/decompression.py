"""Decompresses a stream while it is read, and refuses one that yields more than any data set would."""

import gzip
import io
import zlib
from typing import Any, Final

from workers.contract.files import Compression
from workers.formats.stream import ByteSource, Unreadable

MAX_UNPACKED_BYTES: Final = 8 * 2**30
"""Of one file, decompressed or decoded: as much as the largest upload may have."""
FREE_BYTES: Final = 64 * 2**20
"""So much may come of a file of any size."""
MAX_RATIO: Final = 200
"""Decompressed bytes to compressed ones, beyond `FREE_BYTES`. Rows of text reach 20, repetitive ones 100."""
_BROKEN: Final = (OSError, EOFError, zlib.error)
"""Raised by both libraries for damaged bytes. Those of the source itself come as they are."""


class _Counted(io.RawIOBase):
    """The compressed stream, with its errors kept apart from those of the library that decompresses it."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.bytes = 0
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        try:
            found = self._source.read(size)
        except Exception as error:
            self.error = error
            raise
        self.bytes += len(found)
        return found


class Decompressed:
    """The content of a compressed stream. `read` raises `Unreadable`."""

    def __init__(self, source: ByteSource, compression: Compression) -> None:
        self._compressed = _Counted(source)
        self._compression = compression
        self._stream: Any = None
        self._bytes = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        try:
            if self._stream is None:
                self._stream = _opened(self._compressed, self._compression)
            found: bytes = self._stream.read(size)
        except _BROKEN as error:
            if self._compressed.error is not None:
                raise self._compressed.error from None
            message = f"the file is compressed with {self._compression} but damaged or cut off; compress it again"
            raise Unreadable("damaged_file", message) from error
        self._bytes += len(found)
        limit = min(MAX_UNPACKED_BYTES, max(FREE_BYTES, self._compressed.bytes * MAX_RATIO))
        if self._bytes > limit:
            raise Unreadable(
                "unpacked_too_large",
                f"{self._compressed.bytes:,} compressed bytes become more than {limit:,}; split the file, or upload it "
                "uncompressed",
            )
        return found


def _opened(source: _Counted, compression: Compression) -> Any:
    if compression is Compression.GZIP:
        return gzip.GzipFile(fileobj=source, mode="rb")
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(source, mode="r"), "zstd")
