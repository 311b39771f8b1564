"""multipart/form-data bodies with a file: their OpenAPI schema, and access to the file part."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from orchestrator.errors import InvalidRequest

MAX_FIELD_BYTES = 4_096  # for all fields except the file


def form_body(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads the form itself, so that the key is checked before the upload."""
    schema = {"type": "object", "required": required, "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def file_field(description: str) -> dict[str, str]:
    """The schema of a file part."""
    return {"type": "string", "format": "binary", "description": description}


@asynccontextmanager
async def read_form(request: Request, max_fields: int) -> AsyncIterator[FormData]:
    """The form of a request: one file and at most `max_fields` fields. Raises: InvalidRequest, HTTPException."""
    reading = request.form(max_files=1, max_fields=max_fields, max_part_size=MAX_FIELD_BYTES)
    try:
        form = await reading
    except UnicodeError:  # of a codec that the client named; UnicodeDecodeError is not the only one they raise
        raise InvalidRequest(
            "The form's fields are not in the charset that Content-Type names. Send them in UTF-8.",
            code="invalid_value",
        ) from None
    try:
        yield form
    finally:
        await form.close()


def file_part(form: FormData, name: str) -> UploadFile:
    """The file part `name`. Raises InvalidRequest when there is none."""
    part = form.get(name)
    if not isinstance(part, UploadFile):
        raise InvalidRequest(
            f"Missing required parameter: '{name}'. Send multipart/form-data with a file part of that name.",
            param=name,
            code="missing_required_parameter",
        )
    return part
