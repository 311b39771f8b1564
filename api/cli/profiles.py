"""Profiles: server addresses and keys, stored in one TOML file that only its owner can read."""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from api.cli.errors import CliError, ExitCode

DEFAULT_URL = "http://127.0.0.1:8000"
FIELDS = ("url", "api_key", "admin_key")
ENVIRONMENT = {"url": "ORCHARD_URL", "api_key": "ORCHARD_API_KEY", "admin_key": "ORCHARD_ADMIN_KEY"}


@dataclass(frozen=True)
class Profile:
    """One entry of the profile file. `api_key` is a tenant's, `admin_key` the operator's; either may be missing."""

    url: str | None = None
    api_key: str | None = None
    admin_key: str | None = None


@dataclass(frozen=True)
class Connection:
    """The settings resolved from flags, environment and profile. `origin` says where each field came from."""

    profile: str
    url: str
    api_key: str | None
    admin_key: str | None
    origin: Mapping[str, str]


def profile_path() -> Path:
    """The profile file: `ORCHARD_CONFIG`, else `config.toml` in the user's configuration folder."""
    if chosen := os.environ.get("ORCHARD_CONFIG"):
        return Path(chosen)
    return platformdirs.user_config_path("orchard") / "config.toml"


def read_profiles(path: Path) -> tuple[str | None, dict[str, Profile]]:
    """The name of the current profile and all profiles; empty if the file does not exist. Raises CliError."""
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CliError(
            f"the profile file {path} cannot be read: {error}", code="profile_unreadable", hint="correct or remove it"
        ) from error
    tables = content.get("profiles", {})
    profiles = {name: Profile(**{field: table.get(field) for field in FIELDS}) for name, table in tables.items()}
    return content.get("current"), profiles


def save_profile(path: Path, name: str, profile: Profile, *, make_current: bool = True) -> None:
    """Write `profile` under `name`, keeping the others. Only the owner can ever read the file."""
    current, profiles = read_profiles(path)
    profiles[name] = profile
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(_as_toml(name if make_current or current is None else current, profiles))
    staging.replace(path)


def connect(url: str | None = None, api_key: str | None = None, profile: str | None = None) -> Connection:
    """Resolve each setting: flag, then environment, then profile, then default. Raises CliError."""
    path = profile_path()
    current, profiles = read_profiles(path)
    named = profile or os.environ.get("ORCHARD_PROFILE")
    name = named or current or "default"
    if named and named not in profiles:
        known = ", ".join(sorted(profiles)) or "none yet"
        raise CliError(
            f"there is no profile {named!r} in {path}; known: {known}",
            code="profile_unknown",
            hint=f"orchard login --profile {named}",
            exit_code=ExitCode.USAGE,
        )
    stored = profiles.get(name, Profile())
    flags = {"url": url, "api_key": api_key}
    values: dict[str, str | None] = {}
    origin: dict[str, str] = {}
    for field in FIELDS:
        values[field], origin[field] = _first(flags.get(field), ENVIRONMENT[field], getattr(stored, field), name)
    return Connection(name, (values["url"] or DEFAULT_URL).rstrip("/"), values["api_key"], values["admin_key"], origin)


def _first(flag: str | None, variable: str, stored: str | None, profile: str) -> tuple[str | None, str]:
    if flag:
        return flag, "flag"
    if value := os.environ.get(variable):
        return value, variable
    return (stored, f"profile {profile}") if stored else (None, "default")


def _as_toml(current: str, profiles: Mapping[str, Profile]) -> str:
    lines = [f"current = {json.dumps(current)}"]  # a JSON string is a valid TOML basic string
    for name, profile in sorted(profiles.items()):
        lines += ["", f"[profiles.{json.dumps(name)}]"]
        lines += [f"{field} = {json.dumps(value)}" for field in FIELDS if (value := getattr(profile, field))]
    return "\n".join(lines) + "\n"
