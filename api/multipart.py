"""multipart/form-data bodies with a file: their OpenAPI schema, and access to the file part."""

from typing import Any

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
