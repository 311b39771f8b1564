"""The files a submission names, looked up by columns and refused if they cannot be trained on."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, and_, bindparam, select
from sqlalchemy.orm import Session

from orchestrator.db.tables import FileRow, TenantRow
from orchestrator.errors import InvalidRequest
from orchestrator.files.queries import no_such_file, visible
from orchestrator.files.views import report_path
from orchestrator.submission.request import JobRequest
from workers.contract.files import Container
from workers.contract.rows import DatasetFormat
from workers.contract.spec import DatasetRef

Files = Mapping[str, Row[Any]]
"""Files of a tenant by id, as `FILES` finds them."""

FILES: Final = (
    select(
        *(FileRow.id, FileRow.uri, FileRow.sha256, FileRow.rows),
        *(FileRow.format, FileRow.shape, FileRow.container),
        *(FileRow.purpose, FileRow.status, FileRow.status_details),
    )
    .select_from(TenantRow)
    .outerjoin(
        FileRow,
        and_(
            FileRow.id.in_((bindparam("training_file"), bindparam("validation_file"))),
            visible(TenantRow.id, bindparam("now")),
        ),
    )
    .where(TenantRow.id == bindparam("tenant_id"))
)
"""One row for each visible file that a submission names, or one row without a file if there is none.
`orchestrator.submission.context` adds more columns to the same row."""


def named_files(session: Session, tenant_id: str, request: JobRequest, now: datetime) -> Files:
    """The files that `request` names and the tenant can see."""
    return by_id(session.execute(FILES, files_asked(tenant_id, request, now)))


def by_id(found: Iterable[Row[Any]]) -> Files:
    """Rows of `FILES` by id, without the row that has no file."""
    return {row.id: row for row in found if row.id is not None}


def files_asked(tenant_id: str, request: JobRequest, now: datetime) -> dict[str, Any]:
    """The parameters of `FILES`."""
    return {
        "tenant_id": tenant_id,
        "training_file": request.training_file,
        "validation_file": request.validation_file,
        "now": now,
    }


def dataset(files: Files, file_id: str, param: str) -> DatasetRef:
    """The worker's reference to the file. `param`: the field that named it. Raises: NotFound, InvalidRequest."""
    file = files.get(file_id)
    if file is None:
        raise no_such_file(file_id, param)
    if file.purpose != "fine-tune":
        raise InvalidRequest(f"File {file_id} has purpose '{file.purpose}'; it must be 'fine-tune'.", param=param)
    if file.status != "processed" or file.format is None or not file.rows:
        code = f"invalid_{param}"
        detail = (file.status_details or "The file has no rows").rstrip(".")
        where = f" All problems are in GET {report_path(file_id)}." if file.status == "error" else ""
        message = f"File {file_id} cannot be trained on. {detail}.{where} Correct the file and upload it again."
        raise InvalidRequest(message, param=param, code=code)
    return DatasetRef(
        file_id=file.id,
        uri=file.uri,
        sha256=file.sha256,
        rows=file.rows,
        format=DatasetFormat(file.format),
        shape=file.shape,
        container=Container(file.container),
    )
