"""`orchard files …`: the data sets you have uploaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.errors import CliError, ExitCode
from api.cli.output import SHOWN_ISSUES, Format, FormatOption, IssueLimit, ReportPath, say, show_list, show_one
from api.cli.session import session_of

if TYPE_CHECKING:  # loaded by the first request, to keep `orchard --help` fast
    from api.cli.file_calls import FileCalls

files = typer.Typer(no_args_is_help=True, help="Upload data sets, see what is wrong with them, fetch and delete them.")

FileName = Annotated[str, typer.Argument(metavar="FILE", help="Id file-…, name, or the beginning of the name.")]
FormatOfRows = Annotated[
    str | None,
    typer.Option("--format", metavar="FORMAT", help="What the keys of the rows mean; needed only if they fit several."),
]
COLUMNS = {
    "ID": "id",
    "NAME": "filename",
    "PURPOSE": "purpose",
    "BYTES": "bytes",
    "STATUS": "status",
    "ROWS": "x_orchard.rows",
    "PROBLEMS": "x_orchard.issue_count",
    "CREATED": "created_at",
    "EXPIRES": "expires_at",
}


@files.command("upload")
def upload(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="JSONL, a JSON array, CSV or Parquet; also gzip, zstd.")],
    format: FormatOfRows = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Upload a data set; the server checks every line. Exit code 1: lines are bad, and each is named.

    Rows of other formats (ShareGPT, Alpaca, …) are converted when they are read; orchard files show says how.

    Submit jobs on it by its id: orchard submit --file file-… --model BASE.
    """
    from api.cli.transfer import require_good_lines, upload_file

    if not path.is_file():
        raise CliError(f"{path} is no file", code="file_not_found", hint="check the path", exit_code=ExitCode.USAGE)
    with _calls(context) as calls:
        file = upload_file(calls, path, format)
        if output is Format.TABLE:
            show_list([file], COLUMNS, output)
        else:
            show_one(file, output)
        if output is Format.TABLE:
            for note in file.x_orchard.notes:
                say(f"note: {note.get('message')}")
        hint = f"correct the lines named above and upload again; orchard files delete {file.id} removes this one"
        require_good_lines(file, path, code="invalid_file", hint=hint, rest=f"orchard files issues {file.id}")


@files.command("list")
def list_files(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 100,
    output: FormatOption = Format.TABLE,
) -> None:
    """List your files, newest first."""
    with _calls(context) as calls:
        show_list(calls.list(limit), COLUMNS, output)


@files.command("show")
def show(context: typer.Context, file: FileName, output: FormatOption = Format.TABLE) -> None:
    """Show a file: what it was recognised as, and what was converted, assumed or ignored."""
    with _calls(context) as calls:
        found = calls.get(calls.named(file))
    show_one(found, output)


@files.command("convert")
def convert(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL, a JSON array, CSV or Parquet; also gzip, zstd.")],
    target: Annotated[Path, typer.Option("-o", "--output", metavar="PATH", help="New JSONL file.")],
    format: FormatOfRows = None,
) -> None:
    """Write a data set as the rows that it is trained on, one JSON object a line. Offline; no server is asked.

    Exit code 1: rows are bad; each is named, and nothing is written.
    """
    from api.cli.convert import convert_file

    convert_file(path, target, format)


@files.command("issues")
def issues(
    context: typer.Context,
    file: FileName,
    path: ReportPath = None,
    limit: IssueLimit = SHOWN_ISSUES,
    output: FormatOption = Format.TABLE,
) -> None:
    """Say what is wrong with a file: line, field and reason. With a PATH, save all of it as JSONL."""
    from api.cli.issue_calls import IssueCalls, show_issues

    with _calls(context) as calls:
        show_issues(IssueCalls.of_file(calls.client, calls.named(file)), path, limit, output)


@files.command("download")
def download(
    context: typer.Context,
    file: FileName,
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="New file. By default the file's own name, in this folder.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Download a file as it was uploaded. Of a job, `result_files` names the metrics of every step as CSV."""
    from api.cli.transfer import save

    with _calls(context) as calls:
        found = calls.get(calls.named(file))
        target = path or Path(Path(found.filename).name or found.id)
        with calls.content(found.id) as chunks:
            save(chunks, found.bytes, target)
    say(f"{found.bytes} bytes of {found.id} in {target}")
    if output is not Format.TABLE:
        show_one({"id": found.id, "path": str(target), "bytes": found.bytes}, output)


@files.command("delete")
def delete(context: typer.Context, file: FileName) -> None:
    """Delete a file and its bytes; refused while a job uses it."""
    with _calls(context) as calls:
        file_id = calls.named(file)
        calls.delete(file_id)
    say(f"{file_id} is deleted.")


@contextmanager
def _calls(context: typer.Context) -> Iterator["FileCalls"]:
    from api.cli.file_calls import FileCalls

    with session_of(context).tenant() as client:
        yield FileCalls(client)
