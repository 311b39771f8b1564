"""`orchard login` and `orchard whoami`."""

from typing import Annotated

import typer

from api.cli.output import Format, FormatOption, say, show_one
from api.cli.session import session_of


def login(
    context: typer.Context,
    profile: Annotated[str | None, typer.Option(help="Name to keep it under; or ORCHARD_PROFILE.")] = None,
    url: Annotated[str | None, typer.Option(help="Address of the server; or ORCHARD_URL.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="The key is an operator's.")] = False,
) -> None:
    """Check a key and keep it in the profile file. The key is read without echo, or from a pipe.

    Without a name the profile is `default`. The address is the one it had, if none is given.
    """
    import os
    from dataclasses import replace

    from api.cli.client import OrchardClient
    from api.cli.profiles import DEFAULT_URL, Profile, profile_path, read_profiles, save_profile

    session = session_of(context)
    key = session.api_key or typer.prompt("API key", hide_input=True, err=True).strip()
    profile = profile or session.profile or os.environ.get("ORCHARD_PROFILE") or "default"
    _, profiles = read_profiles(profile_path())
    known = profiles.get(profile, Profile())
    address = (url or session.url or os.environ.get("ORCHARD_URL") or known.url or DEFAULT_URL).rstrip("/")
    with OrchardClient(address, key, session.transport) as client:
        client.whoami()
    fields = {"admin_key": key} if admin else {"api_key": key}
    save_profile(profile_path(), profile, replace(known, url=address, **fields))
    say(f"Profile {profile} is kept in {profile_path()} and is now the current one.")


def whoami(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """Show whose key is in use."""
    with session_of(context).tenant() as client:
        show_one(client.whoami(), output)
