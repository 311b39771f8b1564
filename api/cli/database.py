"""Working on the database itself, and what of its failures a user can act on."""

from collections.abc import Iterator
from contextlib import contextmanager

from api.cli.errors import CliError
from orchestrator.db.migrate import UnknownRevision, UnusableUrl, revisions
from orchestrator.outages import outage


@contextmanager
def at_work() -> Iterator[None]:
    """Around whatever asks the database. Raises CliError for one that is away, and for a URL that is none."""
    try:
        yield
    except UnusableUrl as error:
        hint = "write sqlite:////folder/file or postgresql+psycopg://user@host/name"
        raise CliError(str(error), code="database_url", hint=hint) from error
    except UnknownRevision as error:
        raise CliError(str(error), code="schema", hint="run the newer release, which made it") from error
    except Exception as error:
        if outage(error) is None:
            raise
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        raise CliError(
            f"the database cannot be worked with: {cause}",
            code="database_down",
            hint="check that it runs and that the URL, its user and its folder are right",
        ) from error


def require_current(url: str) -> str:
    """The revision of the schema. Raises CliError, also when it is not the one that this code wants."""
    with at_work():
        schema = revisions(url)
    if not schema.current:
        has = f"is at {schema.found}" if schema.found else "holds no schema"
        message = f"the database {has}, this code wants {schema.wanted}"
        raise CliError(message, code="schema", hint="orchard db upgrade")
    return schema.wanted
