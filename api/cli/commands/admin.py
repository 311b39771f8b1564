"""`orchard tenants …`, `orchard keys …`, `orchard hosts`: the operator's commands."""

from typing import Annotated

import typer

from api.cli.output import Format, FormatOption, say, show_list, show_one
from api.cli.session import session_of

tenants = typer.Typer(no_args_is_help=True, help="Tenants (operator).")
keys = typer.Typer(no_args_is_help=True, help="API keys of a tenant (operator).")

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Slug or id of the tenant.")]


@tenants.command("list")
def list_tenants(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List tenants."""
    with session_of(context).admin() as client:
        show_list(client.tenants(), {"SLUG": "slug", "NAME": "name", "ID": "id", "ONLY BASES": "allowed_bases"}, output)


@tenants.command("create")
def create_tenant(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(help="Lower case letters, digits and dashes.")],
    name: Annotated[str | None, typer.Option(help="Name for people; the slug by default.")] = None,
    base: Annotated[list[str] | None, typer.Option(help="Allowed base; repeat. All bases by default.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create a tenant."""
    with session_of(context).admin() as client:
        show_one(client.create_tenant(slug, name or slug, base or None), output)


@keys.command("list")
def list_keys(context: typer.Context, tenant: Tenant, output: FormatOption = Format.TABLE) -> None:
    """List the keys of a tenant, without their secrets."""
    columns = {"ID": "id", "NAME": "name", "KEY": "redacted_value", "CREATED": "created_at", "REVOKED": "revoked_at"}
    with session_of(context).admin() as client:
        show_list(client.keys(tenant), columns, output)


@keys.command("create")
def create_key(
    context: typer.Context,
    tenant: Tenant,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    output: FormatOption = Format.TABLE,
) -> None:
    """Create a key. It is shown this once and stored only as a digest."""
    with session_of(context).admin() as client:
        key = client.create_key(tenant, name)
    say("Keep the key now; it cannot be shown again.")
    show_one(key, output)


@keys.command("revoke")
def revoke_key(
    context: typer.Context, tenant: Tenant, key_id: Annotated[str, typer.Argument(metavar="KEY_ID")]
) -> None:
    """Revoke a key; requests with it are refused from now on."""
    with session_of(context).admin() as client:
        client.revoke_key(tenant, key_id)
    say(f"{key_id} is revoked.")


def hosts(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List hosts: what is resident, where, and how many seats are taken (operator)."""
    columns = {
        "ID": "id",
        "BASE": "base",
        "QUANTIZATION": "quantization",
        "FLAVOR": "flavor",
        "STATE": "state",
        "JOBS": "jobs",
    }
    with session_of(context).admin() as client:
        show_list(client.hosts(), columns, output)
