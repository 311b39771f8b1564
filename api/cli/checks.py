"""The checks of `orchard doctor`. Each reports what it found and, if that is bad, what to do."""

import importlib.util
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from api.cli.errors import Check, CheckResult, CliError
from api.cli.local_checks import check_catalogue, check_local_stack
from api.cli.profiles import Connection, profile_path
from api.cli.session import Session

MIN_PYTHON = (3, 11)
MIN_FREE_BYTES = 5_000_000_000
SERVER_PARTS = ("fastapi", "sqlalchemy", "ray", "mlflow")
WORKER_PARTS = ("torch", "transformers", "peft", "bitsandbytes", "safetensors")


def all_checks(session: Session, home: Path) -> Iterator[Check]:
    """Every check, cheapest first. A failed check does not stop the others."""
    yield check_python()
    yield check_parts("server parts", SERVER_PARTS, "pip install 'orchard[embedded]'")
    yield check_parts("worker parts", WORKER_PARTS, "pip install 'orchard[worker]'")
    yield check_disk(Path.cwd())
    yield from check_local_stack(home)
    yield from check_catalogue(home)
    yield check_profile_file(profile_path())
    try:
        connection = session.connection()
    except CliError as error:
        yield _failed("profile", error)
        return
    yield check_server(session)
    yield check_key(session, connection, "api_key", "key")
    yield check_key(session, connection, "admin_key", "admin key")


def check_python() -> Check:
    """The interpreter."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < MIN_PYTHON:
        return Check("python", CheckResult.BAD, version, f"use Python {MIN_PYTHON[0]}.{MIN_PYTHON[1]} or newer")
    return Check("python", CheckResult.OK, version)


def check_parts(name: str, modules: tuple[str, ...], todo: str) -> Check:
    """Libraries of a role; found, not imported."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        return Check(
            name, CheckResult.NOTE, f"missing: {', '.join(missing)}", f"only to run it on this machine: {todo}"
        )
    return Check(name, CheckResult.OK, ", ".join(modules))


def check_disk(folder: Path) -> Check:
    """Free space where `orchard up` would run."""
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    if free < MIN_FREE_BYTES:
        return Check("disk", CheckResult.NOTE, found, f"a server here wants {MIN_FREE_BYTES / 1e9:.0f} GB; make room")
    return Check("disk", CheckResult.OK, found)


def check_profile_file(path: Path) -> Check:
    """Only the owner can read the profile file, which holds keys."""
    if not path.exists():
        return Check("profile file", CheckResult.NOTE, f"{path} does not exist", "orchard login, or orchard up")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Check("profile file", CheckResult.BAD, f"{path} has mode {mode:04o}", f"chmod 600 {path}")
    return Check("profile file", CheckResult.OK, str(path))


def check_server(session: Session) -> Check:
    """The server responds and is ready."""
    connection = session.connection()
    where = f"{connection.url} (from {connection.origin['url']})"
    try:
        with session.anyone() as client:
            ready = client.is_ready()
    except CliError as error:
        return _failed("server", error)
    if not ready:
        return Check(
            "server",
            CheckResult.BAD,
            f"{where} is up but not ready",
            "look at its log; its database is down or not migrated",
        )
    return Check("server", CheckResult.OK, where)


def check_key(session: Session, connection: Connection, field: str, name: str) -> Check:
    """The server knows the key. A missing key is a note: not everyone has both."""
    if not getattr(connection, field):
        return Check(name, CheckResult.NOTE, "none", "orchard login" + (" --admin" if field == "admin_key" else ""))
    try:
        with session.admin() if field == "admin_key" else session.tenant() as client:
            who = client.whoami()
    except CliError as error:
        return _failed(name, error)
    tenant = who.get("tenant") or {}
    whose = f"tenant {tenant.get('slug')}" if tenant else f"role {who.get('role')}"
    return Check(name, CheckResult.OK, f"{whose} (from {connection.origin[field]})")


def _failed(name: str, error: CliError) -> Check:
    return Check(name, CheckResult.BAD, error.message, error.hint or "")
