"""`orchard up`: runs the embedded stack in the foreground and issues keys to its user."""

from collections.abc import Callable
from pathlib import Path

from api.cli.bootstrap import new_admin_key
from api.cli.catalogue_errors import told
from api.cli.client import OrchardClient
from api.cli.errors import CliError, ExitCode
from api.cli.profiles import Profile, profile_path, read_profiles, save_profile
from orchestrator.catalogue.document import CatalogueError
from orchestrator.catalogue.file import check_catalogue
from orchestrator.embedded.child import ChildFailed
from orchestrator.embedded.foreground import run_foreground
from orchestrator.embedded.stack import EmbeddedStack, PortTaken, StackOptions, StackRunning
from orchestrator.logs import configure_logs

TENANT = "local"
CATALOGUE = "catalogue.yaml"
FIRST_RUN = "admin_key_made"  # marker file in the home: the admin key has been shown


def run_stack(options: StackOptions, profile: str, say: Callable[[str], None]) -> None:
    """Run until Ctrl-C. Raises CliError."""
    configure_logs()
    try:
        check_catalogue(options.catalogue)
    except CatalogueError as error:
        raise told(error) from error
    try:
        run_foreground(EmbeddedStack(options, say), lambda stack: _announce(stack, profile, say))
    except (StackRunning, PortTaken) as error:  # their messages say what to do
        raise CliError(f"{error}.", code="stack") from error
    except ChildFailed as error:
        hint = f"look into {options.home / 'logs'}; orchard doctor checks the rest"
        raise CliError(str(error), code="stack", hint=hint) from error


def first_catalogue(home: Path) -> Path:
    """`home/catalogue.yaml`; when there is none yet, one that offers the demo's base. Raises CliError."""
    from api.example.prepare import prepare

    path = home / CATALOGUE
    if path.exists():
        return path
    try:
        return prepare(home, CATALOGUE)[1]
    except ImportError as error:
        raise CliError(
            f"there is no {path}, and the demo's base is not installed",
            code="catalogue",
            hint="name a file with --catalogue, or pip install 'orchard[worker,embedded,demo]' for a small base",
            exit_code=ExitCode.USAGE,
        ) from error


def _announce(stack: EmbeddedStack, profile: str, say: Callable[[str], None]) -> None:
    say(f"API     {stack.api_url}  (documentation: {stack.api_url}/docs)")
    say(f"MLflow  {stack.mlflow_url}")
    say(f"Logs    {stack.home / 'logs'}")
    _, profiles = read_profiles(profile_path())
    marker = stack.home / "run" / FIRST_RUN
    if marker.exists():
        known = profiles.get(profile, Profile())
        save_profile(profile_path(), profile, Profile(stack.api_url, known.api_key, known.admin_key))
    else:
        admin_key = new_admin_key(stack.database_url, "orchard up")
        say(f"Admin key, shown this once: {admin_key}")
        save_profile(profile_path(), profile, Profile(stack.api_url, _tenant_key(stack.api_url, admin_key), admin_key))
        marker.touch()
    say(f"Profile {profile} in {profile_path()} knows this stack. Ctrl-C stops everything.")


def _tenant_key(url: str, admin_key: str) -> str:
    with OrchardClient(url, admin_key) as client:
        if all(tenant.slug != TENANT for tenant in client.tenants()):
            client.create_tenant(TENANT, "This machine")
        return client.create_key(TENANT, "orchard up").value
