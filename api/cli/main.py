"""The entry point of `orchard`: root flags, the table of commands, and how failures end the process."""

import os
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from api.cli.commands import (
    account,
    admin,
    catalogue,
    db,
    doctor,
    files,
    jobs,
    models,
    preview,
    submit,
    up,
    usage,
    webhooks,
)
from api.cli.errors import EPILOG, CliError
from api.cli.output import say
from api.cli.session import Session


class OrchardGroup(TyperGroup):
    """Shows a CliError or OSError as one line and exits with its code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            self._end(error)
        except BrokenPipeError:
            raise  # not a failure: the reader closed the pipe
        except OSError as error:
            about = f"{error.filename}: {error.strerror}" if error.filename else str(error) or type(error).__name__
            self._end(CliError(about, code="os_error", hint="check the path, its permissions and the space left"))

    @staticmethod
    def _end(error: CliError) -> NoReturn:
        say(error.line())
        raise typer.Exit(int(error.exit_code)) from None


app = typer.Typer(
    cls=OrchardGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
    pretty_exceptions_show_locals=False,  # a traceback must never print a key
    help="Fine-tune adapters on shared, resident bases: submit jobs, watch them, fetch the result.",
)


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="Address of the server; or ORCHARD_URL.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Key; better ORCHARD_API_KEY, which `ps` does not show.")] = None,
    profile: Annotated[str | None, typer.Option(help="Profile to use; or ORCHARD_PROFILE.")] = None,
) -> None:
    """Resolve the root flags."""
    session = context.obj if isinstance(context.obj, Session) else Session()
    session.url, session.api_key, session.profile = url, api_key, profile
    context.obj = session


for panel, commands in {
    "Jobs": (
        *(submit.submit, submit.schema, preview.preview, jobs.jobs, jobs.show, jobs.why, jobs.watch, jobs.logs),
        *(jobs.issues, jobs.pause, jobs.resume, jobs.cancel),
    ),
    "Models": (models.bases, models.adapters, models.download),
    "This machine": (up.up, doctor.doctor, account.login, account.whoami),
    "Account": (usage.usage,),
    "Operator": (admin.hosts,),
}.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
app.add_typer(files.files, name="files", rich_help_panel="Jobs")
app.add_typer(webhooks.webhooks, name="webhooks", rich_help_panel="Account")
app.add_typer(admin.tenants, name="tenants", rich_help_panel="Operator")
app.add_typer(admin.keys, name="keys", rich_help_panel="Operator")
app.add_typer(catalogue.catalogue, name="catalogue", rich_help_panel="Operator")
app.add_typer(db.db, name="db", rich_help_panel="Operator")


def main() -> None:
    """Run `orchard`. A reader that closes the pipe early is not an error."""
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
