"""`Session`: passed to every command; resolves the connection from flags, environment and profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from api.cli.errors import CliError, ExitCode
from api.cli.profiles import Connection, connect

if TYPE_CHECKING:  # loaded by the first request, to keep `orchard --help` fast
    import httpx2

    from api.cli.client import OrchardClient


@dataclass
class Session:
    """The root flags. `transport` replaces the network in tests."""

    url: str | None = None
    api_key: str | None = None
    profile: str | None = None
    transport: httpx2.BaseTransport | None = None

    def connection(self) -> Connection:
        """The resolved connection. Raises CliError."""
        return connect(self.url, self.api_key, self.profile)

    def anyone(self) -> OrchardClient:
        """A client without a key, for calls that need none. Raises CliError."""
        from api.cli.client import OrchardClient

        return OrchardClient(self.connection().url, None, self.transport)

    def tenant(self) -> OrchardClient:
        """A client with the tenant's key. Raises CliError when there is none."""
        connection = self.connection()
        return self._client(connection.url, connection.api_key, "an API key", "ORCHARD_API_KEY")

    def admin(self) -> OrchardClient:
        """A client with the operator's key; an admin key given as the API key also works. Raises CliError."""
        connection = self.connection()
        key = connection.admin_key or connection.api_key
        return self._client(connection.url, key, "an admin key", "ORCHARD_ADMIN_KEY")

    def _client(self, url: str, key: str | None, what: str, variable: str) -> OrchardClient:
        if not key:
            raise CliError(
                f"this command needs {what} and none is set",
                code="no_key",
                hint=f"orchard login, or set {variable}",
                exit_code=ExitCode.AUTH,
            )
        from api.cli.client import OrchardClient

        return OrchardClient(url, key, self.transport)


def session_of(context: typer.Context) -> Session:
    """The session that the root command created."""
    session = context.find_root().obj
    assert isinstance(session, Session)  # noqa: S101  # set by the root callback before any command runs
    return session
