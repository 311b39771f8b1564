"""`orchard tenants …`, `orchard keys …`, `orchard hosts`: the operator's commands."""

from typing import Annotated

import typer

from api.cli.output import Format, FormatOption, say, show_list, show_one
from api.cli.session import session_of
from api.cli.settings import DatabaseOption, database_of

tenants = typer.Typer(no_args_is_help=True, help="Tenants (operator).")
keys = typer.Typer(no_args_is_help=True, help="API keys of tenants and operators (operator).")

WEIGHT_HELP = "Share of a host's tokens against other tenants', 1 to 1000"
Weight = Annotated[int | None, typer.Option(help=f"{WEIGHT_HELP}; 1 by default.")]
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Slug or id of the tenant.")]


_TENANT_COLUMNS = {
    "SLUG": "slug",
    "NAME": "name",
    "ID": "id",
    "WEIGHT": "weight",
    "ONLY BASES": "allowed_bases",
    "SUSPENDED": "suspended_at",
}


@tenants.command("list")
def list_tenants(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List tenants."""
    with session_of(context).admin() as client:
        show_list(client.tenants(), _TENANT_COLUMNS, output)


@tenants.command("create")
def create_tenant(
    context: typer.Context,
    slug: Annotated[str, typer.Argument(metavar="SLUG", help="Lower case letters, digits and dashes.")],
    name: Annotated[str | None, typer.Option(help="Name for people; the slug by default.")] = None,
    base: Annotated[list[str] | None, typer.Option(help="Allowed base; repeat. All bases by default.")] = None,
    weight: Weight = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Create a tenant."""
    with session_of(context).admin() as client:
        show_one(client.create_tenant(slug, name or slug, base or None, weight), output)


@tenants.command("update")
def update_tenant(
    context: typer.Context,
    tenant: Tenant,
    weight: Annotated[int, typer.Option(help=f"{WEIGHT_HELP}. Jobs submitted before keep theirs.")],
    output: FormatOption = Format.TABLE,
) -> None:
    """Change a tenant."""
    with session_of(context).admin() as client:
        show_one(client.update_tenant(tenant, weight), output)


@tenants.command("suspend")
def suspend_tenant(
    context: typer.Context,
    tenant: Tenant,
    reason: Annotated[str | None, typer.Option(help="Shown to the tenant.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Refuse a tenant's keys and rest its jobs, each after a checkpoint. Nothing is lost."""
    with session_of(context).admin() as client:
        show_one(client.suspend_tenant(tenant, reason), output)


@tenants.command("resume")
def resume_tenant(context: typer.Context, tenant: Tenant, output: FormatOption = Format.TABLE) -> None:
    """End a suspension; the tenant's jobs continue from their newest checkpoints."""
    with session_of(context).admin() as client:
        show_one(client.resume_tenant(tenant), output)


_KEY_COLUMNS = {
    "ID": "id",
    "NAME": "name",
    "KEY": "redacted_value",
    "CREATED": "created_at",
    "LAST USED": "last_used_at",
    "REVOKED": "revoked_at",
}


@keys.command("list")
def list_keys(context: typer.Context, tenant: Tenant, output: FormatOption = Format.TABLE) -> None:
    """List the keys of a tenant, without their secrets."""
    with session_of(context).admin() as client:
        show_list(client.keys(tenant), _KEY_COLUMNS, output)


@keys.command("list-admin")
def list_admin_keys(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List the admin keys, without their secrets."""
    with session_of(context).admin() as client:
        show_list(client.admin_keys(), _KEY_COLUMNS, output)


@keys.command("revoke-admin")
def revoke_admin_key(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id; see `orchard keys list-admin`.")],
) -> None:
    """Revoke an admin key, but never the last one that works."""
    with session_of(context).admin() as client:
        client.revoke_admin_key(key_id)
    say(f"{key_id} is revoked.")


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


@keys.command("create-admin")
def create_admin_key(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "operator",
    database_url: DatabaseOption = None,
) -> None:
    """Make an admin key in the database itself: the way in when there is no key yet. Standard output is the key."""
    from api.cli.bootstrap import new_admin_key

    secret = new_admin_key(database_of(database_url), name)
    say("Keep the key now, for example as ORCHARD_ADMIN_KEY; it cannot be shown again.")
    typer.echo(secret)


@keys.command("revoke")
def revoke_key(
    context: typer.Context,
    tenant: Tenant,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id; see `orchard keys list`.")],
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
