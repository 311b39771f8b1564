"""Tells by its first bytes how a file is compressed, and what is no data set at all. Pure."""

from typing import Final

from workers.contract.files import Compression
from workers.formats.stream import Unreadable

HEAD_BYTES: Final = 1 << 16
PARQUET: Final = b"PAR1"
_COMPRESSED: Final = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}
_SAVE_AS_CSV: Final = "save the sheet as CSV (UTF-8) and upload that"
_UNPACK: Final = "unpack it and upload the file that is in it, as it is or compressed with gzip or zstd"
_REFUSED: Final = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.xls or .doc)", _SAVE_AS_CSV),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x04\x22\x4d\x18", "compressed with lz4", _UNPACK),
    (b"PARE", "an encrypted Parquet file", "write it without encryption"),
    (b"ARROW1", "an Arrow (Feather) file", "write it as Parquet"),
    (b"ORC", "an ORC file", "write it as Parquet"),
    (b"Obj\x01", "an Avro file", "write it as Parquet or JSONL"),
    (b"SQLite format 3\x00", "an SQLite database", "export its rows as CSV or JSONL"),
    (b"\x89HDF", "an HDF5 file", "write it as Parquet or JSONL"),
    (b"\x93NUMPY", "a NumPy array", "write its rows as JSONL"),
    (b"\x80\x04\x95", "a pickle", "write its rows as JSONL"),
    (b"%PDF", "a PDF document", "write its text as rows of JSONL"),
    (b"\x89PNG", "an image", "write rows of JSONL"),
    (b"\xff\xd8\xff", "an image", "write rows of JSONL"),
)
_FORMS: Final = "JSONL, a JSON array, CSV and Parquet are taken, also compressed with gzip or zstd"
_TAR_MARK: Final = slice(257, 262)


def compression_of(head: bytes) -> Compression:
    """How the file is compressed."""
    return next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), Compression.NONE)


def refuse_foreign(head: bytes) -> None:
    """Raises `Unreadable` for a file of a kind that is known and not taken: what it is, and what to do."""
    found = _foreign(head)
    if found is not None:
        what, todo = found
        raise Unreadable("unsupported_file", f"the file is {what}; {todo} ({_FORMS})")


def _foreign(head: bytes) -> tuple[str, str] | None:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        first = head[30:60]  # the name of the archive's first member
        if first.startswith((b"[Content_Types].xml", b"xl/", b"_rels/", b"docProps/")):
            return "an Office document (such as .xlsx)", _SAVE_AS_CSV
        return "a zip archive", _UNPACK
    if head[_TAR_MARK] == b"ustar":
        return "a tar archive", _UNPACK
    return next(((what, todo) for magic, what, todo in _REFUSED if head.startswith(magic)), None)
