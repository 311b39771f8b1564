"""Streams an adapter as a response."""

from typing import Any

from fastapi.responses import StreamingResponse

from orchestrator.artifacts.archive import AdapterArchive

TAR: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}}
}
"""For the OpenAPI document."""


def tar_response(archive: AdapterArchive) -> StreamingResponse:
    """The archive, streamed, with its length."""
    headers = {
        "content-length": str(archive.size_bytes),
        "content-disposition": f'attachment; filename="{archive.filename}"',
    }
    return StreamingResponse(archive.chunks, media_type="application/x-tar", headers=headers)
